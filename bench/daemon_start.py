"""The daemon with a library of 100 000 images: start to ready, then CPU and memory while idle.

Limits from the same run: a Python process without imports, and one that only opens the index.
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--start-alone", action="store_true", help="not the minutes of doing nothing")
    options = parser.parse_args()
    count = options.images
    with homes.temporary_home() as home:
        images = home / "images"
        (home / "indexd.toml").write_text(f'[[roots]]\npath = "{images.as_posix()}"\n', "utf-8")
        homes.index_files(config.read_config(home).paths.index, images, homes.write_files(images, count))

        bare = _seconds([sys.executable, "-c", "pass"])
        opened = _seconds(
            [
                sys.executable,
                "-c",
                f"from indexd.store.sqlite.store import SqliteStore; from pathlib import Path; SqliteStore.open(Path({str(config.read_config(home).paths.index)!r})).close()",
            ]
        )
        daemon = DaemonProcess(home, homes.INSTALLED_ENVIRONMENT)
        with daemon:
            pass  # this start writes the compiled modules that the next ones load
        ready = []
        for _ in range(5):
            begin = time.perf_counter()
            daemon.launch()
            while daemon.status() is None:
                time.sleep(0.005)
            ready.append(time.perf_counter() - begin)
            daemon.stop()
        report.print_result(f"start to ready, {count} images", sorted(ready)[2], "s", bare, "plain python", "<= 1 s")
        report.print_result(
            "  against a process that only opens the index", sorted(ready)[2], "s", opened, "open the index"
        )
        if options.start_alone:
            return

        with daemon:
            daemon.wait_until(
                "the first reconcile", lambda status: all(root.last_reconcile for root in status.roots), 120
            )
            # The next sweeps check files that are seconds old once more; the daemon is idle after them.
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
