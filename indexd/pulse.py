"""Signs of life of the threads that move the queues, for whoever must know that the daemon has not fallen asleep.

A thread that is alive proves nothing: it may wait for ever. So every thread beats once a turn, and it is late when it
should have beaten and did not: after it was woken up for that, or while something lies in its queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_SECONDS = 300.0
"""The longest turn that is still believed: one big file from a slow disk, one picture published to it."""


class Pulse:
    """One thread's signs of life. `beat` is called by that thread, `late` by one other."""

    def __init__(
        self,
        name: str,
        *,
        wake: Callable[[], None] | None = None,
        busy: Callable[[], bool] | None = None,
        limit_seconds: float = LIMIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` makes the thread take a turn soon; `busy` says whether it has something to do (None = a wake-up is)."""
        self.name = name
        self._wake = wake
        self._busy = busy
        self._limit = limit_seconds
        self._clock = clock
        self._beats = 0
        self._seen = 0
        self._owed_since: float | None = None

    def beat(self) -> None:
        """A turn was taken."""
        self._beats += 1

    def late(self) -> float | None:
        """Look, and wake the thread up. The seconds since which a beat is owed, once they are over the limit."""
        now = self._clock()
        if self._beats != self._seen or (self._busy is not None and not self._busy()):
            self._owed_since = None
            self._seen = self._beats
        if self._owed_since is None:
            self._owed_since = now
        if self._wake is not None:
            self._wake()
        owed = now - self._owed_since
        return owed if owed > self._limit else None

    def owed_seconds(self) -> float:
        """Since when a beat is owed, as far as the one who looks has found out; from any thread, and changes nothing."""
        since = self._owed_since
        return 0.0 if since is None or self._beats != self._seen else max(0.0, self._clock() - since)

    def is_late(self) -> bool:
        """Whether it is owed for longer than is believed."""
        return self.owed_seconds() > self._limit
