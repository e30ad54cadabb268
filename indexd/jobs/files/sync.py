"""Keeps the folders in step with the ledger: which job's file must still go where, and what is written when it ends."""

from __future__ import annotations

import logging

from indexd.errors import StoreUnavailable
from indexd.jobs.files.folders import ACCEPTED, FOLDER_BY_STATE, INBOX, JobFolders
from indexd.jobs.job_lookup import require_job
from indexd.jobs.job_report import job_result
from indexd.jobs.queue.retry import Blocked
from indexd.store.protocols import IndexStore
from indexd.store.records import JobRow

log = logging.getLogger(__name__)


class JobFileSync:
    """Moves files after the rows. A move that fails is logged and owed; see LateMoves."""

    def __init__(self, store: IndexStore, folders: JobFolders) -> None:
        self._store = store
        self.folders = folders
        self.has_pending_moves = False
        """Some file is not where its row says, and could not be brought there."""

    def settle_all(self) -> None:
        """Bring every file where its row says."""
        with self.folders.lock:
            self.has_pending_moves = True
            moved = [self.settle(job.id) for job in self._store.jobs.misplaced_files()]
            self.has_pending_moves = not all(moved)

    def settle(self, job_id: int) -> bool:
        """Bring the file of one job where its row says; whether it lies there. Nothing happens when it did already."""
        with self.folders.lock:
            try:
                job = require_job(self._store.jobs, job_id)  # as it is now: another thread may have brought it there
                wanted = FOLDER_BY_STATE[job.state]
                if job.file_location == wanted:
                    return True
                self.folders.create()
                if wanted == ACCEPTED or job.file_location == INBOX:
                    self.folders.accept(job, self._count_duplicates(job))
                if wanted != ACCEPTED:
                    self.folders.move_finished(job, job_result(job, self._store.jobs.items(job.id)))
                self._store.jobs.set_file_location(job.id, wanted)
            except (OSError, StoreUnavailable) as error:
                log.warning("the file of job %d cannot be moved where it belongs yet: %s", job_id, error)
                self.has_pending_moves = True
                return False
            return True

    def _count_duplicates(self, job: JobRow) -> int:
        return sum(
            other.id != job.id
            and other.file_location == ACCEPTED
            and (other.inbox_name, other.source) == (job.inbox_name, job.source)
            for other in self._store.jobs.unfinished()
        )


# Job files that could not be moved when their job began or ended: tried again without waiting for another job.


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
