"""Jobs for the rest of the program: files are admitted, jobs cancelled and retried."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from indexd.background.signal import Signal
from indexd.config import Config
from indexd.errors import IndexdError, NothingFound, StoreUnavailable, UsageError
from indexd.fs.paths import display, relative
from indexd.jobs.admission.admission import Admission, Admitted, Declined, Ignored
from indexd.jobs.files.atomic import FaultHook, no_fault
from indexd.jobs.files.folders import JobFolders
from indexd.jobs.files.publish import Publisher
from indexd.jobs.files.rejects import RejectMover
from indexd.jobs.files.sync import JobFileSync
from indexd.model_files import ModelCatalogue
from indexd.store.protocols import IndexStore
from indexd.store.records import JobRow
from indexd.watch.roots import watched_folders
from indexd.worker.calls import CallProgress
from indexd_schemas.job_state import JobState

log = logging.getLogger(__name__)

LEDGER_ID_KEY = "jobs.ledger_id"


class JobService:
    """Admits, cancels and retries jobs. Every method may be called from any thread.

    `lock` is held while an item's end and its job's state are decided (a file published, a job cancelled). Order of
    locks: `lock` before the lock of the folders. `changed` is emitted after every admission, cancellation and retry,
    `finished` when a job ended whose end is notified; listeners must be quick. `progress` is that of the items whose calls
    run now, by the id of the item.
    """

    def __init__(
        self,
        store: IndexStore,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        random_bits: Callable[[int], int] = secrets.randbits,
        fault: FaultHook = no_fault,
    ) -> None:
        """`random_bits(n)` gives random seeds; `fault` is called between the durable steps of publishing."""
        self.lock = threading.RLock()
        self.catalogue = ModelCatalogue.from_config(config)
        self.file_sync = JobFileSync(store, JobFolders(config.paths.inbox))
        self.publisher = Publisher(store.jobs, _ledger_id(store), config.paths.output, fault)
        self.reject_mover = RejectMover(store.jobs, fault)
        self._admission = Admission.from_config(config, store, self.catalogue, self.file_sync, clock, random_bits)
        self._store = store
        self._watched_folders = [folder.path for folder in watched_folders(config) if folder.purpose == "images"]
        self.changed: Signal[[]] = Signal("jobs changed")
        self.finished: Signal[[]] = Signal("job finished")
        self.progress: dict[int, CallProgress] = {}
        notify = config.settings.notify
        self.notify_on: frozenset[str] = frozenset(notify.on if notify.command else ())

    def admit_file(self, path: Path) -> Admitted | Declined | Ignored:
        """Admit a settled file of the inbox, or refuse it. Raises StorageFull or OSError where the disk is at fault."""
        outcome = self._admission.admit_file(path)
        if isinstance(outcome, Admitted):
            job = outcome.job
            self._on_admitted(job)
        elif isinstance(outcome, Declined):
            log.warning("refused a job file and moved it to %s\n%s", outcome.path, outcome.reason)
            # The reason file exists already. An error here would admit the file again, which has moved.
            with contextlib.suppress(StoreUnavailable):
                self._store.events.add("job_refused", outcome.reason)
        return outcome

    def submit(self, source: bytes, name: str) -> JobRow:
        """Admit a job that comes as bytes. Raises JobRefused with line and column."""
        job = self._admission.submit(source, name)
        self._on_admitted(job)
        return job

    def cancel(self, job_id: int) -> JobRow:
        """Cancel a job: at once in the ledger, within a denoising step in the worker. What is published stays."""
        with self.lock:
            job = self._require(job_id)
            if job.state.is_final:
                raise UsageError(f"job {job_id} is {job.state} already")
            self._store.jobs.cancel(job_id, unnotified="cancelled" in self.notify_on)
        log.info("job %d (%s) is cancelled", job.id, job.name)
        self._emit_changed()
        self.finished.emit()
        return self._require(job_id)

    def retry(self, job_id: int) -> JobRow:
        """Queue the failed and cancelled items of an ended job again, with the same seeds."""
        with self.lock:
            job = self._require(job_id)
            if job.state not in (JobState.FAILED, JobState.CANCELLED):
                raise UsageError(f"job {job_id} is {job.state}; only failed and cancelled ones can be tried again")
            if not self.file_sync.settle(job_id):  # what it wrote when it ended is complete before it is taken back
                raise StoreUnavailable(
                    f"the file of job {job_id} cannot be moved yet; the log says why, try again then"
                )
            self._store.jobs.retry(job_id)
        log.info("job %d (%s) is tried again", job.id, job.name)
        self._emit_changed()
        return self._require(job_id)

    def _on_admitted(self, job: JobRow) -> None:
        """The job is in the ledger, so nothing that follows may fail: its file would not be admitted a second time."""
        log.info("job %d accepted: %s, %d images", job.id, job.name, sum(job.item_counts.values()))
        self._emit_changed()
        with contextlib.suppress(StoreUnavailable):
            self._warn_unwatched_folders(job)

    def _warn_unwatched_folders(self, job: JobRow) -> None:
        for folder in sorted({os.path.dirname(item.path) for item in self._store.jobs.items(job.id)}):
            if not any(relative(root, folder) is not None for root in self._watched_folders):
                log.warning(
                    "job %d: %s is in no watched folder; its files are made, but not indexed", job.id, display(folder)
                )

    def _require(self, job_id: int) -> JobRow:
        job = self._store.jobs.get(job_id)
        if job is None:
            raise NothingFound(f"there is no job {job_id}; `indexd jobs list` shows them")
        return job

    def _emit_changed(self) -> None:
        try:
            self.file_sync.settle_all()
        except IndexdError as error:
            log.warning("the folders of the jobs are behind: %s", error)
        self.changed.emit()


def _ledger_id(store: IndexStore) -> str:
    known = store.key_values.get(LEDGER_ID_KEY)
    if known is None:
        known = secrets.token_hex(4)
        store.key_values.set(LEDGER_ID_KEY, known)
    return known
