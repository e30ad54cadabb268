"""Moves job files to the folder of their job's state, and writes the results of ended jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from indexd.errors import StoreUnavailable
from indexd.jobs.files.folders import ACCEPTED, FOLDER_BY_STATE, INBOX, JobFolders
from indexd.jobs.job_lookup import require_job
from indexd.jobs.job_report import job_result
from indexd.jobs.queue.retry import check_backoff
from indexd.store.protocols import IndexStore
from indexd.store.records import JobRow

log = logging.getLogger(__name__)


class JobFileSync:
    """Moves files after the rows. A move that fails is logged and pending; JobFileSyncRetry tries it again."""

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
                location = FOLDER_BY_STATE[job.state]
                if job.file_location == location:
                    return True
                self.folders.create()
                if location == ACCEPTED or job.file_location == INBOX:
                    self.folders.accept(job, self._count_duplicates(job))
                if location != ACCEPTED:
                    self.folders.move_finished(job, job_result(job, self._store.jobs.items(job.id)))
                self._store.jobs.set_file_location(job.id, location)
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


class JobFileSyncRetry:
    """Retries moves that failed, without waiting for another job. Only the runner's thread uses it."""

    def __init__(self, file_sync: JobFileSync, clock: Callable[[], float]) -> None:
        self._file_sync = file_sync
        self._backoff = check_backoff(clock)

    def seconds_to_retry(self) -> float | None:
        """Seconds until the next try; None when no move is pending."""
        return self._backoff.seconds_left() if self._backoff.failures else None

    def retry_when_due(self) -> None:
        """Try the pending moves when it is time. Raises StoreUnavailable; then they stay pending."""
        if self._backoff.failures and self._backoff.is_due:
            self._backoff.fail()
            self._file_sync.settle_all()
        if not self._file_sync.has_pending_moves:
            self._backoff.reset()
        elif not self._backoff.failures:
            self._backoff.fail()

    def final_attempt(self) -> None:
        """Before the end: what is not moved now is moved at the next start."""
        if self._file_sync.has_pending_moves:
            self._file_sync.settle_all()
