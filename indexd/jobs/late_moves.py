"""Job files that could not be moved when their job began or ended: tried again without waiting for another job."""

from __future__ import annotations

from indexd.jobs.mirror import Mirror
from indexd.jobs.setbacks import Setback


class LateMoves:
    """Looks after what the mirror owes, ever more seldom while it cannot be done. Only the runner's thread uses it."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._wait: Setback | None = None

    @property
    def due_at(self) -> float | None:
        """When they are tried next; None: nothing is owed."""
        return self._wait.probe_at if self._wait is not None else None

    def look(self, now: float) -> None:
        """Try them when it is time. Raises StoreUnavailable; then they are owed still."""
        if self._wait is not None and self._wait.due(now):
            self._wait.next_probe(now)
            self._mirror.settle_all()
        if not self._mirror.owes:
            self._wait = None
        elif self._wait is None:
            self._wait = Setback("the files of jobs cannot be moved", lambda: not self._mirror.owes)
            self._wait.next_probe(now)

    def last_try(self) -> None:
        """Before the end: what is not moved now is moved at the next start."""
        if self._mirror.owes:
            self._mirror.settle_all()
