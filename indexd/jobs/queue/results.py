"""What becomes of a call that is over: a published file, another attempt, a failure, or a queue that waits; and of its job."""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import (
    CallCancelled,
    ModelUnavailable,
    StorageFull,
    StoreUnavailable,
    is_resource_shortage,
    is_transient_os_error,
)
from indexd.jobs.job_lookup import is_finished, require_job
from indexd.jobs.kinds import Artifact, ItemCall, ItemMaker
from indexd.jobs.queue.retry import (
    Blocked,
    BlockedJobs,
    OutputFolderGone,
    PermanentFailure,
    QueuePause,
    Retry,
    decide_retry,
    has_free_space,
)
from indexd.jobs.service import JobService
from indexd.store.protocols import IndexStore
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.call_handle import CallHandle
from indexd_schemas.job_state import JobState

log = logging.getLogger(__name__)


@dataclass(slots=True)
class InFlight:
    """An item in the worker. Times are of the monotonic clock: from `started_at` it held the GPU alone."""

    job: JobRow
    item: JobItemRow
    kind: ItemMaker
    request: ItemCall
    handle: CallHandle
    attempt: int
    started_at: float
    ended_at: float = 0.0

    @property
    def seconds(self) -> float:
        """How long the attempt took."""
        return max(0.0, self.ended_at - self.started_at)

    @property
    def folder(self) -> Path:
        """The folder of the item's file."""
        return Path(os.fsdecode(self.item.path)).parent

    def __str__(self) -> str:
        return f"job {self.item.job_id}, item {self.item.index + 1}"


class ItemResults:
    """The calls that ended, until each is settled. Only the runner's thread uses it."""

    def __init__(
        self,
        store: IndexStore,
        jobs: JobService,
        pause: QueuePause,
        blocked_jobs: BlockedJobs,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._ledger = store.jobs
        self._jobs = jobs
        self._pause = pause
        self._blocked_jobs = blocked_jobs
        self._clock = clock
        self._ended: deque[InFlight] = deque()
        self._unpublished: deque[tuple[InFlight, Artifact]] = deque()
        self._changed_jobs: set[int] = set()

    @property
    def has_unpublished(self) -> bool:
        """Whether an artifact cannot be put in its place now."""
        return bool(self._unpublished)

    @property
    def has_open(self) -> bool:
        """Whether a call that ended is not settled or not published."""
        return bool(self._ended or self._unpublished)

    def add(self, ended: Iterable[InFlight]) -> None:
        """Take calls that are over."""
        self._ended.extend(ended)

    def mark_changed(self, job_id: int) -> None:
        """An item of this job changed, so that the job may have ended."""
        self._changed_jobs.add(job_id)

    def settle(self) -> None:
        """Settle what is over. A call that the ledger has no room for stays, and is settled when there is room again."""
        while self._ended:
            self._settle_one(self._ended[0])
            self._ended.popleft()

    def publish(self) -> None:
        """Put artifacts in their places; what cannot be put there now is kept and the queue waits."""
        while self._unpublished:
            ended, artifact = self._unpublished[0]
            if not self._publish_one(ended, artifact):
                return
            self._unpublished.popleft()
            self.mark_changed(ended.item.job_id)

    def finish_jobs(self) -> None:
        """End the jobs whose last item is settled. Raises StorageFull; then the rest is kept for the next call."""
        while self._changed_jobs:
            job_id = min(self._changed_jobs)
            self._finish_job(job_id)
            self._changed_jobs.discard(job_id)

    def requeue(self, ended: InFlight) -> None:
        """Queue the item again; the attempt does not count."""
        with self._jobs.lock:
            if not self.is_cancelled(ended):
                self._ledger.requeue_item(ended.item.id)

    def requeue_unpublished(self) -> None:
        """Queue again what could not be published: the next process makes it anew."""
        for ended, _artifact in self._unpublished:
            self.requeue(ended)

    def is_cancelled(self, ended: InFlight) -> bool:
        """Whether the job was cancelled."""
        return require_job(self._ledger, ended.item.job_id).state is JobState.CANCELLED

    def _settle_one(self, ended: InFlight) -> None:
        try:
            artifact = ended.kind.artifact(ended.handle.result(0))
        except CallCancelled:
            self.requeue(ended)
        except Exception as error:
            self._handle_error(ended, error)
        else:
            self._unpublished.append((ended, artifact))

    def _handle_error(self, ended: InFlight, error: Exception) -> None:
        self.mark_changed(ended.item.job_id)
        with self._jobs.lock:
            if self.is_cancelled(ended):
                return
            missing = ended.request.missing_model()
            if missing is not None or isinstance(error, (ModelUnavailable, StorageFull)) or is_resource_shortage(error):
                self._ledger.requeue_item(ended.item.id)
                self._block_or_pause(ended, error, missing)
                return
            decision = decide_retry(error, ended.attempt)
            if isinstance(decision, PermanentFailure):
                log.error("%s failed: %s", ended, decision.error)
                self._ledger.mark_item_failed(ended.item.id, decision.error, retry_at=None)
                return
            log.warning("%s: %s; trying again in %g s", ended, decision.error, decision.seconds)
            self._schedule_retry(ended, decision)

    def _schedule_retry(self, ended: InFlight, decision: Retry) -> None:
        retry_at = self._clock() + decision.seconds
        self._ledger.mark_item_failed(ended.item.id, decision.error, retry_at=retry_at)
        if decision.pause_queue:
            self._pause_queue(f"{decision.error} ({ended}); trying again soon", lambda: self._clock() >= retry_at)

    def _block_or_pause(self, ended: InFlight, error: Exception, missing: Path | None) -> None:
        job_id = ended.item.job_id
        if isinstance(error, StorageFull):
            self._pause_queue(str(error), lambda: has_free_space(self._store.path.parent))
        elif missing is not None:
            blocked = Blocked(f"the model {missing} is gone; put it back or cancel job {job_id}", missing.exists)
            self._blocked_jobs.block(job_id, blocked)
        else:
            self._pause_queue(f"{error}; or cancel job {job_id}", lambda: True)  # only the next call can tell

    def _publish_one(self, ended: InFlight, artifact: Artifact) -> bool:
        job_id, folder = ended.item.job_id, ended.folder
        with self._jobs.lock:
            if self.is_cancelled(ended):
                return True
            try:
                published = self._jobs.publisher.publish(ended.item.id, artifact, ended.seconds)
            except StorageFull as error:
                size = artifact.byte_count
                self._pause_queue(
                    str(error), lambda: has_free_space(folder, size) and has_free_space(self._store.path.parent)
                )
                return False
            except StoreUnavailable as error:
                self._pause_queue(str(error), lambda: True)
                return False
            except OutputFolderGone as error:
                self._pause_queue(
                    str(error), lambda: folder.is_dir() or folder.parent.is_dir() or is_finished(self._ledger, job_id)
                )
                return False
            except OSError as error:
                if error.errno == errno.EROFS:
                    self._pause_queue(
                        f"the disk of {folder} has become read-only; mount it for writing or cancel job {job_id}",
                        lambda: os.access(folder, os.W_OK) or is_finished(self._ledger, job_id),
                    )
                    return False
                if is_transient_os_error(error):
                    # The artifact is made, and neither it nor the job is at fault: the next turn will tell.
                    self._pause_queue(f"{error}; or cancel job {job_id}", lambda: True)
                    return False
                self._handle_error(ended, error)
                return True
        self._pause.record_success()
        log.info("%s: %s (%.2f s)", ended, published.path, ended.seconds)
        return True

    def _pause_queue(self, reason: str, is_resolved: Callable[[], bool]) -> None:
        self._pause.pause(Blocked(reason, is_resolved))

    def _finish_job(self, job_id: int) -> None:
        with self._jobs.lock:
            job = require_job(self._ledger, job_id)
            counts = job.item_counts
            if not job.state.is_final:
                if any(counts.get(state) for state in JobState if not state.is_final):
                    return
                rejected = self._jobs.reject_mover.move_rejects(job_id)
                error = self._failure_summary(job) if counts.get(JobState.FAILED) else None
                state = JobState.FAILED if error else JobState.DONE
                self._ledger.finish(job_id, state, error, unnotified=state in self._jobs.notify_on)
                job = require_job(self._ledger, job_id)
                log.info("job %d (%s) is %s%s", job.id, job.name, job.state, f": {error}" if error else "")
                if rejected:
                    log.info("job %d: %d rejected images are in rejected/", job.id, rejected)
        self._jobs.file_sync.settle(job_id)
        if job.state in self._jobs.notify_on:
            self._jobs.finished.emit()

    def _failure_summary(self, job: JobRow) -> str:
        items = self._ledger.items(job.id)
        failed = [item for item in items if item.state is JobState.FAILED]
        return f"{len(failed)} of {len(items)} items failed; item {failed[0].index + 1}: {failed[0].error}"
