"""How long a person waits for `indexd --help`, beside the bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import time

from bench import report

RUNS = 15


def main() -> None:
    """Run the benchmark and print its line."""
    report.line(
        "indexd --help",
        _median([sys.executable, "-m", "indexd", "--help"]),
        "s",
        _median([sys.executable, "-c", "pass"]),
        "bare python",
        "<= 0.3 s",
    )


def _median(command: list[str]) -> float:
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return sorted(times)[RUNS // 2]


if __name__ == "__main__":
    main()
