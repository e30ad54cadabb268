"""Signs of life of the threads that move the queues, for whoever must know that the daemon has not fallen asleep.

A thread that is alive proves nothing: it may wait for ever. So every thread beats once a turn, and it is late when it
should have beaten and did not: after it was woken up for that, or while something lies in its queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TURN_LIMIT_SECONDS = 300.0
"""The longest turn that is still believed: one big file from a slow disk, one picture published to it."""


class Liveness:
    """One thread's signs of life. `beat` is called by that thread, `late` by one other."""

    def __init__(
        self,
        name: str,
        *,
        wake: Callable[[], None] | None = None,
        busy: Callable[[], bool] | None = None,
        limit_seconds: float = TURN_LIMIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` makes the thread take a turn soon; `busy` says whether it has something to do (None = a wake-up is)."""
        self.name = name
        self._wake = wake
        self._busy = busy
        self._limit = limit_seconds
        self._clock = clock
        self._beats = 0
        self._seen_beats = 0
        self._beat_due_since: float | None = None

    def beat(self) -> None:
        """A turn was taken."""
        self._beats += 1

    def check_overdue(self) -> float | None:
        """Look, and wake the thread up. The seconds since which a beat is owed, once they are over the limit."""
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
        """Since when a beat is owed, as far as the one who looks has found out; from any thread, and changes nothing."""
        since = self._beat_due_since
        return 0.0 if since is None or self._beats != self._seen_beats else max(0.0, self._clock() - since)

    def is_overdue(self) -> bool:
        """Whether it is owed for longer than is believed."""
        return self.overdue_seconds() > self._limit
