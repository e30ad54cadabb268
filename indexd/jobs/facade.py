"""Jobs as the rest of the program sees them: files in, and a person's wishes about them."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from indexd.catalogue import Catalogue
from indexd.config import Config
from indexd.errors import IndexdError, NothingFound, StoreUnavailable, UsageError
from indexd.jobs.admitted import Admitted, Declined, LeftAlone
from indexd.jobs.durable import Fault, no_fault
from indexd.jobs.folders import JobFolders
from indexd.jobs.mirror import Mirror
from indexd.jobs.publish import Publisher
from indexd.jobs.reception import reception
from indexd.jobs.sift import Sieve
from indexd.store.index import Store
from indexd.store.records import JobRow
from indexd.watch.folders import watched_folders
from indexd.watch.paths import display, relative

log = logging.getLogger(__name__)

LEDGER_ID = "jobs.ledger_id"


class Jobs:
    """Admits, cancels and retries jobs. Every method may be called from any thread.

    `lock` is held while an item's end and its job's state are decided (a picture published, a job cancelled). Order of
    locks: `lock` before the lock of the folders.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[int], int] = secrets.randbits,
        fault: Fault = no_fault,
    ) -> None:
        """`draw(bits)` gives random seeds; `fault` is called between the durable steps of publishing."""
        self.lock = threading.RLock()
        self.catalogue = Catalogue.of(config)
        self.mirror = Mirror(store, JobFolders(config.places.inbox))
        self.publisher = Publisher(store.jobs, _ledger_id(store), config.places.output, fault)
        self.sieve = Sieve(store.jobs, fault)
        self._admission = reception(config, store, self.catalogue, self.mirror, clock, draw)
        self._store = store
        self._watched = [folder.path for folder in watched_folders(config) if folder.purpose == "images"]
        self._listeners: list[Callable[[], None]] = []
        notify = config.settings.notify
        self.tell_of: frozenset[str] = frozenset(notify.on if notify.command else ())
        self._at_an_end: Callable[[], None] = lambda: None

    def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed()` after every admission, cancellation and retry; it must be quick."""
        self._listeners.append(changed)

    def listen_to_ends(self, has_ended: Callable[[], None]) -> None:
        """Call `has_ended()` when a job has ended of which is to be told; it must be quick."""
        self._at_an_end = has_ended

    def has_ended(self) -> None:
        """A job has ended."""
        self._at_an_end()

    def take(self, path: Path) -> Admitted | Declined | LeftAlone:
        """Admit a settled file of the inbox, or refuse it. Raises StorageFull or OSError where the disk is at fault."""
        outcome = self._admission.take(path)
        if isinstance(outcome, Admitted):
            job = outcome.job
            self._accepted(job)
        elif isinstance(outcome, Declined):
            log.warning("job file refused, it lies in %s now\n%s", outcome.path, outcome.reason)
            # The reason lies beside the file; whoever brought it would bring it again for the note, and find it gone.
            with contextlib.suppress(StoreUnavailable):
                self._store.events.add("job_refused", outcome.reason)
        return outcome

    def submit(self, source: bytes, name: str) -> JobRow:
        """Admit a job that comes as bytes. Raises Refused with line and column."""
        job = self._admission.submit(source, name)
        self._accepted(job)
        return job

    def cancel(self, job_id: int) -> JobRow:
        """Stop a job: at once in the ledger, within a denoising step on the card. What is published stays."""
        with self.lock:
            job = self._get(job_id)
            if job.state not in ("queued", "running"):
                raise UsageError(f"job {job_id} is {job.state} already")
            self._store.jobs.cancel(job_id, untold="cancelled" in self.tell_of)
        log.info("job %d (%s) is cancelled", job.id, job.name)
        self._changed()
        self.has_ended()
        return self._get(job_id)

    def retry(self, job_id: int) -> JobRow:
        """Queue the failed and cancelled pictures of an ended job again, with the same seeds."""
        with self.lock:
            job = self._get(job_id)
            if job.state not in ("failed", "cancelled"):
                raise UsageError(f"job {job_id} is {job.state}; only failed and cancelled ones can be tried again")
            if not self.mirror.settle(job_id):  # what it wrote when it ended is complete before it is taken back
                raise StoreUnavailable(
                    f"the file of job {job_id} cannot be moved yet; the log says why, try again then"
                )
            self._store.jobs.retry(job_id)
        log.info("job %d (%s) is tried again", job.id, job.name)
        self._changed()
        return self._get(job_id)

    def _accepted(self, job: JobRow) -> None:
        """It stands in the ledger, so nothing that follows may fail: who brought it would not find it a second time."""
        log.info("job %d accepted: %s, %d pictures", job.id, job.name, sum(job.item_counts.values()))
        self._changed()
        with contextlib.suppress(StoreUnavailable):
            self._warn_of_folders(job)

    def _warn_of_folders(self, job: JobRow) -> None:
        for folder in sorted({os.path.dirname(item.path) for item in self._store.jobs.items(job.id)}):
            if not any(relative(root, folder) is not None for root in self._watched):
                log.warning(
                    "job %d: %s is in no watched folder; its pictures are made, not indexed", job.id, display(folder)
                )

    def _get(self, job_id: int) -> JobRow:
        job = self._store.jobs.get(job_id)
        if job is None:
            raise NothingFound(f"there is no job {job_id}; `indexd jobs list` shows them")
        return job

    def _changed(self) -> None:
        try:
            self.mirror.settle_all()
        except IndexdError as error:
            log.warning("the folders of the jobs are behind: %s", error)
        for changed in self._listeners:
            changed()


def _ledger_id(store: Store) -> str:
    known = store.meta.get(LEDGER_ID)
    if known is None:
        known = secrets.token_hex(4)
        store.meta.set(LEDGER_ID, known)
    return known
