"""The daemon with a library of 100 000 pictures: start to ready, then CPU and memory while nothing happens.

Limits in the same run: a Python that imports nothing, and one that only opens the index.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import psutil

from bench.support import homes, report
from indexd import config
from indexd.demo.daemon_process import DaemonProcess

IDLE_SECONDS = 60.0
SETTLING_SECONDS = 45.0


def main() -> None:
    """Run the benchmark and print its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--start-alone", action="store_true", help="not the minutes of doing nothing")
    options = parser.parse_args()
    count = options.pictures
    with homes.temporary_home() as home:
        pictures = home / "pictures"
        (home / "indexd.toml").write_text(f'[[roots]]\npath = "{pictures.as_posix()}"\n', "utf-8")
        homes.index_files(config.read_config(home).paths.index, pictures, homes.write_files(pictures, count))

        bare = _seconds([sys.executable, "-c", "pass"])
        opened = _seconds(
            [
                sys.executable,
                "-c",
                f"from indexd.store.sqlite.store import Store; from pathlib import Path; Store.open(Path({str(config.read_config(home).paths.index)!r})).close()",
            ]
        )
        daemon = DaemonProcess(home, homes.INSTALLED_ENVIRONMENT)
        with daemon:
            pass  # what is compiled now lies on the disk from the next start on
        ready = []
        for _ in range(5):
            begin = time.perf_counter()
            daemon.launch()
            while daemon.status() is None:
                time.sleep(0.005)
            ready.append(time.perf_counter() - begin)
            daemon.stop()
        report.print_result(f"start to ready, {count} pictures", sorted(ready)[2], "s", bare, "bare python", "<= 1 s")
        report.print_result(
            "  against a process that only opens the index", sorted(ready)[2], "s", opened, "open the index"
        )
        if options.start_alone:
            return

        with daemon:
            daemon.wait_until(
                "the first reconcile", lambda status: all(root.last_reconcile for root in status.roots), 120
            )
            # Files that are seconds old are looked at once more by the next sweeps; after those it is idle.
            time.sleep(SETTLING_SECONDS)
            process = psutil.Process(daemon.pid)
            before = process.cpu_times()
            time.sleep(IDLE_SECONDS)
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            report.print_result("idle CPU", 100 * used / IDLE_SECONDS, "% of a core", bar="<= 0.2 %")
            memory = process.memory_full_info()
            report.print_result("idle memory (resident)", memory.rss / 2**20, "MB", bar="<= 120 MB")
            report.print_result("idle memory (its own, unshared)", memory.uss / 2**20, "MB")


def _seconds(command: list[str]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        times.append(time.perf_counter() - begin)
    return sorted(times)[2]


if __name__ == "__main__":
    main()
