"""Detects that the machine slept or the process was stopped: events were lost then, without an error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from indexd.background.background_service import BackgroundService

_CHECK_SECONDS = 2.0
# A busy machine may delay a thread for some seconds; a shorter slack would cost needless scans.
_SLACK_SECONDS = 3.0


def suspend_aware_seconds() -> float:
    """A clock that advances while the machine sleeps and, where the system has such a clock, is never set."""
    if sys.platform == "linux":
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME)
    elif sys.platform == "win32":
        seconds = time.monotonic()
    else:
        seconds = time.time()
    return seconds


class SuspendDetector(BackgroundService):
    """Calls `on_gap` with the seconds between two checks whenever the second one comes much too late."""

    def __init__(self, on_gap: Callable[[float], None], clock: Callable[[], float] = suspend_aware_seconds) -> None:
        super().__init__("suspend-detector")
        self._on_gap = on_gap
        self._clock = clock
        self._checked_at = clock()

    def start(self) -> None:
        """Start checking; the time before counts as no gap."""
        self._checked_at = self._clock()
        super().start()

    def run_once(self) -> float:
        """Check once; the next check is due in two seconds."""
        now = self._clock()
        gap, self._checked_at = now - self._checked_at, now
        if gap > _CHECK_SECONDS + _SLACK_SECONDS:
            self._on_gap(gap)
        return _CHECK_SECONDS
