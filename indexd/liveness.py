"""Liveness of the threads that move the queues, for the watchdog and for `status`.

A running thread proves nothing: it may wait for ever. So every thread beats once a turn. It is overdue when it owes a beat:
after a wake-up, or while its queue is not empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TURN_LIMIT_SECONDS = 300.0
"""The longest plausible turn: one large file read from a slow disk, one image published to it."""


class Liveness:
    """The beats of one thread. That thread calls `beat`; one other thread calls `check_overdue`."""

    def __init__(
        self,
        name: str,
        *,
        wake: Callable[[], None] | None = None,
        busy: Callable[[], bool] | None = None,
        limit_seconds: float = TURN_LIMIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` makes the thread take a turn soon; `busy` says whether it owes one (None = after each wake-up)."""
        self.name = name
        self._wake = wake
        self._busy = busy
        self._limit = limit_seconds
        self._clock = clock
        self._beats = 0
        self._seen_beats = 0
        self._beat_due_since: float | None = None

    def beat(self) -> None:
        """Record a turn."""
        self._beats += 1

    def check_overdue(self) -> float | None:
        """Wake the thread, and return for how many seconds a beat is owed, once they exceed the limit; else None."""
        now = self._clock()
        if self._beats != self._seen_beats or (self._busy is not None and not self._busy()):
            self._beat_due_since = None
            self._seen_beats = self._beats
        if self._beat_due_since is None:
            self._beat_due_since = now
        if self._wake is not None:
            self._wake()
        owed = now - self._beat_due_since
        return owed if owed > self._limit else None

    def overdue_seconds(self) -> float:
        """For how many seconds a beat is owed as of the last check; from any thread, changes nothing."""
        since = self._beat_due_since
        return 0.0 if since is None or self._beats != self._seen_beats else max(0.0, self._clock() - since)

    def is_overdue(self) -> bool:
        """Whether a beat is owed for longer than the limit."""
        return self.overdue_seconds() > self._limit
