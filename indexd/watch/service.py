"""All watched folders: start, stop, scan now, status."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from indexd.watch.root_context import RootContext
from indexd.watch.root_thread import RootThread
from indexd.watch.roots import RootStatus, WatchedRoot
from indexd.watch.suspend_detector import SuspendDetector, suspend_aware_seconds

__all__ = ["RootStatus", "WatchService", "scan_roots_once"]

_STOP_SECONDS = 10.0


class WatchService:
    """Delivers every file of the roots once it is settled, and again each time its content changes."""

    def __init__(
        self,
        roots: Sequence[WatchedRoot],
        context: RootContext,
        suspend_aware_clock: Callable[[], float] = suspend_aware_seconds,
    ) -> None:
        self._on_event = context.on_event
        self._threads = {root.id: RootThread(root, context) for root in roots}
        self._suspend_detector = SuspendDetector(self._on_resume, suspend_aware_clock)

    def start(self) -> None:
        """Start watching; the first scan runs in the background."""
        for thread in self._threads.values():
            thread.start()
        self._suspend_detector.start()

    def stop(self) -> None:
        """Stop watching. A handler that is in the middle of a file gets some seconds to finish."""
        self._suspend_detector.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in self._threads.values():
            thread.request_stop()
        for thread in self._threads.values():
            thread.join(max(deadline - time.monotonic(), 0))

    def scan(self, root_id: int | None = None, wait: bool = False) -> None:
        """Scan one root (None = all) now; with `wait`, return when it is done and its files are delivered."""
        chosen = self._threads.values() if root_id is None else [self._threads[root_id]]
        tickets = [thread.request_scan("requested by a person") for thread in chosen]
        if wait:
            for ticket in tickets:
                ticket.wait()

    def status(self) -> list[RootStatus]:
        """The status of every root, in the order given to the constructor."""
        return [thread.status() for thread in self._threads.values()]

    def _on_resume(self, gap_seconds: float) -> None:
        text = f"nothing ran for {gap_seconds:.0f} s (machine asleep or process stopped); every folder is compared"
        self._on_event("resume", text, None)
        for thread in self._threads.values():
            thread.request_scan("resumed after a pause")


def scan_roots_once(roots: Sequence[WatchedRoot], context: RootContext) -> list[RootStatus]:
    """Scan the roots once, in the caller's thread and without watching; files still being written get time to settle."""
    return [RootThread(root, context).scan_in_caller_thread() for root in roots]
