"""Duration of `indexd --help`, and of commands that a daemon answers, compared with the plain interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.support import homes, report
from indexd.demo.daemon_process import DaemonProcess

RUNS = 15


def main() -> None:
    bare = _median([sys.executable, "-c", "pass"])
    report.print_result("indexd --help", _median(_indexd("--help")), "s", bare, "plain python", "<= 0.3 s")
    with homes.temporary_home() as home, DaemonProcess(home):
        for words in (("status",), ("query", "rating:5", "--all"), ("rate", "1", "5"), ("tag", "1", "+keep")):
            name = f"indexd {words[0]}, of a daemon"
            seconds = _median(_indexd("--home", home, *words))
            report.print_result(name, seconds, "s", bare, "plain python", "<= 0.15 s")


def _indexd(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "indexd", *map(str, words)]


def _median(command: list[str]) -> float:
    environment = {**os.environ, **homes.INSTALLED_ENVIRONMENT}
    # An empty index finds nothing, which is an answer too.
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        times.append(time.perf_counter() - begin)
    return sorted(times)[RUNS // 2]


if __name__ == "__main__":
    main()
