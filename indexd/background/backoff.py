"""Growing pauses between the tries of something that fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Backoff:
    """The pause after each failure in a row: `first_seconds`, then `factor` times the one before, up to `max_seconds`.

    `clock` gives seconds. It may be a wall clock: when it is set back, the pause ends. Not thread-safe.
    """

    __slots__ = ("_clock", "_factor", "_failed_at", "_first", "_max", "failures")

    def __init__(
        self,
        first_seconds: float,
        max_seconds: float | None = None,
        *,
        factor: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `max_seconds` every pause is `first_seconds` long."""
        self._first = first_seconds
        self._max = first_seconds if max_seconds is None else max_seconds
        self._factor = factor
        self._clock = clock
        self._failed_at = 0.0
        self.failures = 0

    def fail(self) -> float:
        """Count one failure; returns the seconds to wait before the next try."""
        self.failures += 1
        self._failed_at = self._clock()
        return self.pause_after(self.failures)

    def reset(self) -> None:
        """Forget the failures: the next try is due now, and the next pause is the first one again."""
        self.failures = 0

    @property
    def is_due(self) -> bool:
        """Whether the next try may begin."""
        return self.seconds_left() == 0

    @property
    def retry_at(self) -> float | None:
        """The time of the next try on `clock`; None when the last try did not fail."""
        return self._failed_at + self.pause_after(self.failures) if self.failures else None

    def seconds_left(self) -> float:
        """Seconds until the next try is due; 0 when it is."""
        waited = self._clock() - self._failed_at
        if not self.failures or waited < 0:
            return 0.0
        return max(0.0, self.pause_after(self.failures) - waited)

    def pause_after(self, failures: int) -> float:
        """The pause in seconds after so many failures in a row (at least 1)."""
        # By logarithms, because the power of a large count overflows a float.
        if self._factor > 1 and (failures - 1) * math.log(self._factor) >= math.log(self._max / self._first):
            return self._max
        return min(self._max, self._first * self._factor ** (failures - 1))
