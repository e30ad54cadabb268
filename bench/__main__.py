"""`python -m bench [NAME …]`: runs every benchmark in this folder, or the named ones, each in its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HELPERS = {"__init__", "__main__", "report", "homes", "drawn", "cone", "million_library", "faces"}


def main(names: list[str]) -> int:
    """Run the benchmarks one after the other. The exit code is the number of failed ones."""
    known = sorted(file.stem for file in HERE.glob("*.py") if file.stem not in HELPERS)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or known:
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=HERE.parent, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
