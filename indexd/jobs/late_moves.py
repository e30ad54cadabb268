"""Job files that could not be moved when their job began or ended: tried again without waiting for another job."""

from __future__ import annotations

from indexd.jobs.mirror import JobFileSync
from indexd.jobs.setbacks import Blocked


class JobFileSyncRetry:
    """Looks after what the mirror owes, ever more seldom while it cannot be done. Only the runner's thread uses it."""

    def __init__(self, file_sync: JobFileSync) -> None:
        self._file_sync = file_sync
        self._blocked: Blocked | None = None

    @property
    def next_retry_at(self) -> float | None:
        """When they are tried next; None: nothing is owed."""
        return self._blocked.next_check_at if self._blocked is not None else None

    def retry_when_due(self, now: float) -> None:
        """Try them when it is time. Raises StoreUnavailable; then they are owed still."""
        if self._blocked is not None and self._blocked.is_due(now):
            self._blocked.schedule_next_check(now)
            self._file_sync.settle_all()
        if not self._file_sync.has_pending_moves:
            self._blocked = None
        elif self._blocked is None:
            self._blocked = Blocked("the files of jobs cannot be moved", lambda: not self._file_sync.has_pending_moves)
            self._blocked.schedule_next_check(now)

    def final_attempt(self) -> None:
        """Before the end: what is not moved now is moved at the next start."""
        if self._file_sync.has_pending_moves:
            self._file_sync.settle_all()
