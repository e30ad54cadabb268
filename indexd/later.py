"""Files that could not be read at their first try, each with the time of its next one: ever more seldom."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable

from indexd.watch.stamp import SettledFile

FileKey = tuple[int, bytes]


class RetryQueue:
    """What waits for its next try, by place. Every method may be called from any thread.

    The pause after a try begins at `first_seconds`, and is doubled with each that fails, up to `longest_seconds`; it is each
    file's own, so that one which never works keeps no other waiting. `clock` never goes back.
    """

    def __init__(
        self,
        first_seconds: float,
        max_seconds: float,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Of other files than jobs, at most `limit` are kept."""
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._tries: dict[FileKey, int] = {}
        self._pending: dict[FileKey, tuple[float, SettledFile]] = {}
        self._due: list[tuple[float, FileKey]] = []

    def schedule(self, file: SettledFile) -> bool:
        """It could not be read. Whether it is kept and comes back."""
        key = (file.root_id, file.rel)
        with self._lock:
            if file.purpose != "jobs" and key not in self._pending and len(self._pending) >= self._limit:
                self._tries.pop(key, None)
                return False
            tries = self._tries.get(key, 0)
            self._tries[key] = tries + 1
            # A number of tries that no pause needs would be too large for a float one day.
            due = self._clock() + min(self._max_seconds, self._first_seconds * 2 ** min(tries, 30))
            self._pending[key] = (due, file)
            heapq.heappush(self._due, (due, key))
            return True

    def reset_backoff(self, file: SettledFile) -> None:
        """It was read, or there is nothing to read: should it fail once more, it begins anew."""
        with self._lock:
            self._tries.pop((file.root_id, file.rel), None)

    def take_due(self) -> SettledFile | None:
        """One whose time has come; it waits no longer."""
        with self._lock:
            due = self._next_due()
            if due is None or due > self._clock():
                return None
            _, key = heapq.heappop(self._due)
            return self._pending.pop(key)[1]

    def seconds_until_due(self) -> float | None:
        """Until `take` would give one; None = nothing waits."""
        with self._lock:
            due = self._next_due()
            return None if due is None else max(0.0, due - self._clock())

    def _next_due(self) -> float | None:
        while self._due:
            due, key = self._due[0]
            if key in self._pending and self._pending[key][0] == due:
                return due
            heapq.heappop(self._due)
        return None
