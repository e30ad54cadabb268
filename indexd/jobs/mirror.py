"""Keeps the folders in step with the ledger: which job's file must still go where, and what is written when it ends."""

from __future__ import annotations

import logging

from indexd.errors import StoreUnavailable
from indexd.jobs.folders import ACCEPTED, FOLDER_OF, INBOX, JobFolders
from indexd.jobs.result import result_of
from indexd.jobs.rows import known_job
from indexd.store.index import Store
from indexd.store.records import JobRow

log = logging.getLogger(__name__)


class Mirror:
    """Moves files after the rows. A move that fails is logged and owed; see LateMoves."""

    def __init__(self, store: Store, folders: JobFolders) -> None:
        self._store = store
        self.folders = folders
        self.owes = False
        """Some file is not where its row says, and could not be brought there."""

    def settle_all(self) -> None:
        """Bring every file where its row says."""
        with self.folders.lock:
            self.owes = True
            moved = [self.settle(job.id) for job in self._store.jobs.unfinished_moves()]
            self.owes = not all(moved)

    def settle(self, job_id: int) -> bool:
        """Bring the file of one job where its row says; whether it lies there. Nothing happens when it did already."""
        with self.folders.lock:
            try:
                job = known_job(self._store.jobs, job_id)  # as it is now: another thread may have brought it there
                wanted = FOLDER_OF[job.state]
                if job.mirrored == wanted:
                    return True
                self.folders.prepare()
                if wanted == ACCEPTED or job.mirrored == INBOX:
                    self.folders.accept(job, self._twins(job))
                if wanted != ACCEPTED:
                    self.folders.close(job, result_of(job, self._store.jobs.items(job.id)))
                self._store.jobs.set_mirrored(job.id, wanted)
            except (OSError, StoreUnavailable) as error:
                log.warning("the file of job %d cannot be moved where it belongs yet: %s", job_id, error)
                self.owes = True
                return False
            return True

    def _twins(self, job: JobRow) -> int:
        return sum(
            other.id != job.id
            and other.mirrored == ACCEPTED
            and (other.inbox_name, other.source) == (job.inbox_name, job.source)
            for other in self._store.jobs.unfinished()
        )
