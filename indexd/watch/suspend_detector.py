"""Did the machine sleep, or was the process stopped? Then events were lost, and nobody says so."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

_CHECK_SECONDS = 2.0
# A busy machine may let a thread wait for some seconds; a needless comparison is the price of a shorter one.
_SLACK_SECONDS = 3.0


def suspend_aware_seconds() -> float:
    """A clock that goes on while the machine sleeps and, where the system has such a one, is never set."""
    boot_clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if boot_clock is not None:
        return time.clock_gettime(boot_clock)
    return time.monotonic() if os.name == "nt" else time.time()


class SuspendDetector:
    """Calls `on_gap` with the seconds that were lost whenever a beat comes much too late."""

    def __init__(self, on_gap: Callable[[float], None], clock: Callable[[], float] = suspend_aware_seconds) -> None:
        self._on_gap = on_gap
        self._clock = clock
        self._last = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def check(self) -> None:
        """One beat, due two seconds after the one before."""
        now = self._clock()
        gap, self._last = now - self._last, now
        if gap > _CHECK_SECONDS + _SLACK_SECONDS:
            self._on_gap(gap)

    def start(self) -> None:
        """Beat in a thread."""
        self._last = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Stop beating."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_CHECK_SECONDS):
            self.check()
