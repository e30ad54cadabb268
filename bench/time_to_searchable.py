"""Time from a finished file to a search hit: until the running daemon finds an image by its metadata.

Two ways of writing: renamed into place, and written in place in two pieces. The limit is a watcher of the same library and
settings that only reports the event.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import watchfiles

from bench.support import homes, report
from indexd import config
from indexd.api.connect import connect
from indexd.api.operations.images import query
from indexd.demo.daemon_process import DaemonProcess
from indexd_schemas.api.requests import SearchRequest

IMAGES = 100


def main() -> None:
    with homes.temporary_home() as home:
        images = home / "images"
        images.mkdir()
        (home / "indexd.toml").write_text(f'[[roots]]\npath = "{images.as_posix()}"\n', "utf-8")
        limit = _bare_event_latency(images)
        with DaemonProcess(home) as daemon:
            daemon.wait_until("the first scan", lambda status: all(root.last_reconcile for root in status.roots), 30)
            asker = connect(config.read_config(home), need_daemon=True)
            for name, write in (("renamed into place", _write_and_rename), ("written in place", _write_in_place)):
                waits = []
                for number in range(IMAGES):
                    seed = len(name) * 1_000_000 + number
                    write(images / f"{name[:3]}{number}.png", homes.tiny_png(seed))
                    closed = time.perf_counter()
                    while not asker.call(query, SearchRequest(filters=(f"seed:{seed}",))).hits:
                        time.sleep(0.002)
                    waits.append(time.perf_counter() - closed)
                    time.sleep(0.02)
                for label, value, floor in zip(("p50", "p95"), report.p50_p95(waits), limit, strict=True):
                    report.print_result(
                        f"{name}: closed to searchable, {label}",
                        1000 * value,
                        "ms",
                        1000 * floor,
                        "plain event",
                        "<= 1000 ms",
                    )


def _write_and_rename(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".tmp")
    partial.write_bytes(content)
    os.replace(partial, path)


def _write_in_place(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[:60])
        file.flush()
        time.sleep(0.05)
        file.write(content[60:])


def _bare_event_latency(folder: Path) -> tuple[float, float]:
    seen: dict[str, float] = {}
    stop = threading.Event()

    def watch() -> None:
        for changes in watchfiles.watch(folder, debounce=50, step=5, stop_event=stop, rust_timeout=500):
            for _change, path in changes:
                seen.setdefault(path, time.perf_counter())

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(0.5)
    waits = []
    for number in range(IMAGES):
        path = folder / f"bare{number}.png"
        _write_and_rename(path, homes.tiny_png(number))
        closed = time.perf_counter()
        while str(path) not in seen:
            time.sleep(0.001)
        waits.append(seen[str(path)] - closed)
        time.sleep(0.02)
    stop.set()
    thread.join()
    return report.p50_p95(waits)


if __name__ == "__main__":
    main()
