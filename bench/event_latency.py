"""Time from closing (or renaming) a file to its delivery by the watcher, and idle cost of watching."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.support.report import p50_p95, print_result
from indexd.fs.file_stamp import SettledFile
from indexd.watch.indexed_files import InMemoryIndexedFiles
from indexd.watch.root_context import RootContext
from indexd.watch.roots import WatchedRoot
from indexd.watch.service import WatchService
from indexd.watch.watchers.watcher import FolderPredicate, Watcher, WatcherFactory, open_watcher
from indexd.watch.watchers.watchfiles_watcher import WatchfilesWatcher

FILES = 200
SIZE_BYTES = 1_500_000
PAUSE_SECONDS = 0.02
IDLE_SECONDS = 45.0
IDLE_ROOTS = 5


def open_portable_watcher(root: bytes, enters: FolderPredicate) -> Watcher:  # noqa: ARG001 - the shape of OpenWatcher
    """The watcher for systems without inotify."""
    return WatchfilesWatcher(os.fsdecode(root))


class DeliveryTimes:
    """Records the delivery time of each file."""

    def __init__(self) -> None:
        self.known = InMemoryIndexedFiles()
        self._came = threading.Condition()
        self._at: dict[bytes, float] = {}

    def deliver(self, file: SettledFile) -> None:
        now = time.perf_counter()
        self.known.record(file.root_id, file.rel, file.stamp)
        with self._came:
            self._at[file.rel] = now
            self._came.notify_all()

    def wait_for(self, name: str) -> float:
        rel = os.fsencode(name)
        with self._came:
            self._came.wait_for(lambda: rel in self._at)
            return self._at[rel]


def write_and_rename(folder: Path, name: str, data: bytes) -> float:
    """Write to a temporary name and rename. Returns the time before the rename."""
    (folder / f"{name}.tmp").write_bytes(data)
    done = time.perf_counter()
    os.replace(folder / f"{name}.tmp", folder / name)
    return done


def write_in_place(folder: Path, name: str, data: bytes) -> float:
    """Write in ten pieces over some time. Returns the time before closing."""
    with (folder / name).open("wb") as file:
        for piece in range(10):
            file.write(data[piece * len(data) // 10 : (piece + 1) * len(data) // 10])
            file.flush()
            time.sleep(0.003)
        return time.perf_counter()


def latencies(opener: WatcherFactory, write: Callable[[Path, str, bytes], float]) -> list[float]:
    """Latency of each file in milliseconds."""
    arrivals, data = DeliveryTimes(), os.urandom(SIZE_BYTES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = RootContext(arrivals.known, arrivals.deliver, lambda *_: None, open_watcher=opener)
        service = WatchService([WatchedRoot(1, os.fsencode(folder))], context)
        service.start()
        service.scan(wait=True)
        found = []
        for number in range(FILES):
            done = write(folder, f"{number}.png", data)
            found.append((arrivals.wait_for(f"{number}.png") - done) * 1000)
            time.sleep(PAUSE_SECONDS)
        service.stop()
    return found


def idle_cpu_percent() -> float:
    """CPU use of this process in percent of a core, while it watches five quiet folders of a hundred files."""
    with tempfile.TemporaryDirectory() as name:
        roots = []
        for number in range(IDLE_ROOTS):
            folder = Path(name) / f"{number}"
            folder.mkdir()
            for file in range(100):
                (folder / f"{file}.png").write_bytes(b"x")
            roots.append(WatchedRoot(number, os.fsencode(folder)))
        arrivals = DeliveryTimes()
        service = WatchService(roots, RootContext(arrivals.known, arrivals.deliver, lambda *_: None))
        service.start()
        service.scan(wait=True)
        before, started = _cpu_seconds(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        share = 100 * (_cpu_seconds() - before) / (time.monotonic() - started)
        service.stop()
    return share


def _cpu_seconds() -> float:
    used = psutil.Process().cpu_times()
    return used.user + used.system


def main() -> None:
    """Measure both ways of writing with the system's watcher and with the portable one."""
    for label, opener in (("own watcher", open_watcher), ("portable watcher", open_portable_watcher)):
        for what, write in (("rename-in", write_and_rename), ("write-in-place", write_in_place)):
            p50, p95 = p50_p95(latencies(opener, write))
            print_result(f"{what} -> delivered, {label}, p50", p50, "ms")
            print_result(f"{what} -> delivered, {label}, p95", p95, "ms")
    print_result(f"idle: {IDLE_ROOTS} folders watched", idle_cpu_percent(), "% of a core", bar="<= 0.1")


if __name__ == "__main__":
    main()
