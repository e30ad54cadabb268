"""All watched folders together: start, stop, scan now, how they stand. The face of this room to the daemon."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from indexd.fs.file_stamp import SettledFile
from indexd.watch.indexed_files import IndexedFiles
from indexd.watch.root_loop import EventCallback
from indexd.watch.root_thread import RootThread
from indexd.watch.roots import RootStatus, WatchedRoot, WatchOptions
from indexd.watch.suspend_detector import SuspendDetector, suspend_aware_seconds
from indexd.watch.watchers.watcher import WatcherFactory, open_watcher

__all__ = ["RootStatus", "WatchService", "scan_roots_once"]

_STOP_SECONDS = 10.0


class WatchService:
    """Delivers every file of the roots once it is settled, and again each time its content changes.

    `deliver` is called from one thread a root and may block; the same (path, stamp) may come again after a restart.
    `on_event(kind, text, root_id)` gets kinds "offline", "online", "watcher" (it failed), "lost" (files that a scan
    found and an event had not told of) and "resume". `on_state` gets a root's status whenever its mode, reason, online
    or identity changes: the daemon stores it, and gives the identity back in `WatchedRoot` at the next start.
    """

    def __init__(
        self,
        roots: Sequence[WatchedRoot],
        known: IndexedFiles,
        deliver: Callable[[SettledFile], None],
        on_event: EventCallback,
        clock: Callable[[], float] = time.monotonic,
        *,
        options: WatchOptions | None = None,
        on_state: Callable[[RootStatus], None] | None = None,
        opener: WatcherFactory = open_watcher,
        suspend_aware_clock: Callable[[], float] = suspend_aware_seconds,
    ) -> None:
        self._on_event = on_event
        self._threads = {
            root.id: RootThread(
                root, known, deliver, on_event, options or WatchOptions(), clock=clock, opener=opener, on_state=on_state
            )
            for root in roots
        }
        self._suspend_detector = SuspendDetector(self._on_resume, suspend_aware_clock)

    def start(self) -> None:
        """Watch; the first comparison with the index runs in the background."""
        for watch in self._threads.values():
            watch.start()
        self._suspend_detector.start()

    def stop(self) -> None:
        """Stop watching. Handlers that are in the middle of a file get some seconds."""
        self._suspend_detector.stop()
        until = time.monotonic() + _STOP_SECONDS
        for watch in self._threads.values():
            # All are told to stop before any of them is waited for.
            watch.stop(0)
        for watch in self._threads.values():
            watch.stop(max(until - time.monotonic(), 0))

    def scan(self, root_id: int | None = None, wait: bool = False) -> None:
        """Compare one root (None = all) with the index now; `wait` until that is done and its files are delivered."""
        chosen = self._threads.values() if root_id is None else [self._threads[root_id]]
        tickets = [watch.request_scan("somebody asked") for watch in chosen]
        if wait:
            for ticket in tickets:
                ticket.wait()

    def status(self) -> list[RootStatus]:
        """How every root stands, in the order given."""
        return [watch.status() for watch in self._threads.values()]

    def _on_resume(self, gap_seconds: float) -> None:
        text = f"nothing ran for {gap_seconds:.0f} s (machine asleep or process stopped); every folder is compared"
        self._on_event("resume", text, None)
        for watch in self._threads.values():
            watch.request_scan("resumed after a pause")


def scan_roots_once(
    roots: Sequence[WatchedRoot],
    known: IndexedFiles,
    deliver: Callable[[SettledFile], None],
    on_event: EventCallback,
    options: WatchOptions | None = None,
    *,
    on_state: Callable[[RootStatus], None] | None = None,
) -> list[RootStatus]:
    """Compare the roots with the index once, in this thread and without watching; files that grow get their time."""
    watches = [
        RootThread(root, known, deliver, on_event, options or WatchOptions(), on_state=on_state) for root in roots
    ]
    return [watch.scan_in_caller_thread() for watch in watches]
