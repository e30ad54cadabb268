"""Keeps the folders in step with the ledger: which job's file must still go where, and what is written when it ends."""

from __future__ import annotations

import logging

from indexd.errors import StorageFull
from indexd.jobs.folders import ACCEPTED, FOLDER_OF, INBOX, JobFolders
from indexd.jobs.result import result_of
from indexd.store.index import Store
from indexd.store.records import JobRow

log = logging.getLogger(__name__)


class Mirror:
    """Moves files after the rows. A move that fails is logged and tried again at the next occasion."""

    def __init__(self, store: Store, folders: JobFolders) -> None:
        self._store = store
        self.folders = folders

    def settle_all(self) -> None:
        """Bring every file where its row says."""
        with self.folders.lock:
            for job in self._store.jobs.unfinished_moves():
                self.settle(job)

    def settle(self, job: JobRow) -> None:
        """Bring the file of one job where its row says. Harmless when it lies there."""
        wanted = FOLDER_OF[job.state]
        if job.mirrored == wanted:
            return
        with self.folders.lock:
            try:
                self.folders.prepare()
                if wanted == ACCEPTED or job.mirrored == INBOX:
                    self.folders.accept(job, self._twins(job))
                if wanted != ACCEPTED:
                    self.folders.close(job, result_of(job, self._store.jobs.items(job.id)))
            except (OSError, StorageFull) as error:
                log.warning("the file of job %d (%s) cannot be moved to %s/ yet: %s", job.id, job.name, wanted, error)
                return
            self._store.jobs.set_mirrored(job.id, wanted)

    def _twins(self, job: JobRow) -> int:
        return sum(
            other.id != job.id
            and other.mirrored == ACCEPTED
            and (other.inbox_name, other.source) == (job.inbox_name, job.source)
            for other in self._store.jobs.unfinished()
        )
