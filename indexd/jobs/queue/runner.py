"""The queue at work: items of the ledger -> calls in the worker -> published files.

One thread takes turns. A turn starts the next call *before* it publishes the artifact that came back, so the GPU never
waits for the disk. Between turns it sleeps until something happens: a call ended, a job came, a person cancelled, a retry
became due, or the next check of a cause while the queue waits.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from indexd.background.background_service import BackgroundService
from indexd.errors import IndexdError, ModelUnavailable, StorageFull, StoreUnavailable, is_transient
from indexd.jobs.files.sync import JobFileSyncRetry
from indexd.jobs.job_lookup import is_finished, require_job
from indexd.jobs.kinds import ItemMaker, find_kind
from indexd.jobs.queue.restart import recover_in_flight
from indexd.jobs.queue.results import InFlight, ItemResults
from indexd.jobs.queue.retry import Blocked, BlockedJobs, InputImageGone, QueuePause, has_free_space
from indexd.jobs.queue.series_sheet import SheetMaker, is_sheet
from indexd.jobs.service import JobService
from indexd.store.protocols import IndexStore
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.call_handle import WorkerBackend
from indexd.worker.calls import CallProgress, Priority

log = logging.getLogger(__name__)

# One call runs, one waits in the worker: more would only make cancelling and priorities slower.
MAX_IN_FLIGHT = 2
STOP_SECONDS = 10.0
MAX_SLEEP_SECONDS = 60.0


class JobRunner(BackgroundService):
    """Works through the ledger."""

    def __init__(
        self,
        store: IndexStore,
        workers: WorkerBackend,
        jobs: JobService,
        on_failure: Callable[[BaseException], object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("jobs", on_failure=on_failure)
        self._store = store
        self._ledger = store.jobs
        self._workers = workers
        self._jobs = jobs
        self._clock = clock
        self._in_flight: deque[InFlight] = deque()
        self._pause = QueuePause(store, clock)
        self._blocked_jobs = BlockedJobs(clock)
        self._results = ItemResults(store, jobs, self._pause, self._blocked_jobs, clock)
        self._sheet_maker = SheetMaker(store.jobs)
        self._sync_retry = JobFileSyncRetry(jobs.file_sync, clock)
        self._stop_at: float | None = None
        jobs.changed.subscribe(self.wake)

    def start(self) -> None:
        """Recover what an earlier process left, then work in a thread until `stop`."""
        self.recover()
        super().start()

    def stop(self, timeout_seconds: float | None = STOP_SECONDS) -> bool:
        """Start nothing new, let the first call finish within the timeout, queue the others again."""
        self._stop_at = time.monotonic() + (timeout_seconds or 0.0)
        return super().stop()

    def recover(self) -> None:
        """Adopt the artifacts that were finished when the process ended, queue again what was begun, and move job files."""
        self._pause.resume()
        self._jobs.file_sync.folders.create()
        self._jobs.file_sync.folders.remove_temp_files()
        recover_in_flight(self._store, self._jobs.publisher)
        for job in self._ledger.unfinished():
            self._results.mark_changed(job.id)
        self._results.finish_jobs()
        self._jobs.file_sync.settle_all()

    def run_once(self) -> float | None:
        """Do everything that can be done now. Seconds until the next turn; None = until `wake`."""
        self.liveness.beat()
        try:
            self._blocked_jobs.check(partial(is_finished, self._ledger))
            self._pause.check()
            self._collect_ended()
            while len(self._in_flight) < MAX_IN_FLIGHT and self._can_start() and self._start_next():
                pass
            self._results.settle()
            self._results.publish()
            self._results.finish_jobs()
            self._sync_retry.retry_when_due()
            self._pause_if_all_blocked()
            return self._sleep_seconds()
        except StorageFull as error:
            self._pause.pause(Blocked(str(error), lambda: has_free_space(self._store.path.parent)))
        except (StoreUnavailable, OSError) as error:
            if not is_transient(error):
                raise
            self._pause.pause(Blocked(str(error), lambda: True))  # only the next turn can tell
        return self._sleep_seconds()  # which reads nothing from the index while the queue waits

    def finish(self) -> None:
        """Return what is in flight. What the index cannot take back is found again at the next start."""
        if self.failure is not None or self._stop_at is None:
            return
        try:
            self._return_in_flight(self._stop_at)
            self._sync_retry.final_attempt()
        except StoreUnavailable as error:
            log.warning("the index could not take back what was in flight; the next start finds it: %s", error)

    def _can_start(self) -> bool:
        return not (self.is_stopping or self._pause.is_paused or self._results.has_unpublished)

    def _start_next(self) -> bool:
        """Start one more call. False when there is none to start."""
        item = self._ledger.next_item(self._clock(), self._blocked_jobs.job_ids())
        if item is None:
            return False
        job = require_job(self._ledger, item.job_id)
        self._results.mark_changed(job.id)
        try:
            kind = self._maker_of(job, item)
            request = kind.call(job, item, self._jobs.catalogue)
        except ModelUnavailable as error:
            self._block_job(job, item, error)
            return True
        except (InputImageGone, LookupError) as error:
            self._ledger.mark_item_failed(item.id, str(error), retry_at=None)
            return True
        try:
            attempt = self._ledger.begin_attempt(item.id)
        except LookupError:
            return True  # cancelled in this very moment
        handle = self._workers.submit(
            request.call,
            priority=Priority.JOB,
            on_progress=partial(self._record_progress, item.id),
            timeout_seconds=kind.silence_seconds,
        )
        self._in_flight.append(InFlight(job, item, kind, request, handle, attempt, time.monotonic()))
        handle.future.add_done_callback(lambda _future: self.wake())
        return True

    def _maker_of(self, job: JobRow, item: JobItemRow) -> ItemMaker:
        return self._sheet_maker if is_sheet(item) else find_kind(job.kind)

    def _record_progress(self, item_id: int, progress: CallProgress) -> None:
        self._jobs.progress[item_id] = progress

    def _collect_ended(self) -> None:
        """Move the calls that are over to the results; cancel those of cancelled jobs."""
        for running in self._in_flight:
            if not running.handle.done() and self._results.is_cancelled(running):
                running.handle.cancel()
        ended = [running for running in self._in_flight if running.handle.done()]
        for one in ended:
            self._in_flight.remove(one)
            one.ended_at = time.monotonic()
            self._jobs.progress.pop(one.item.id, None)
        if ended and self._in_flight:
            self._in_flight[0].started_at = time.monotonic()
        self._results.add(ended)

    def _block_job(self, job: JobRow, item: JobItemRow, error: ModelUnavailable) -> None:
        def is_resolved() -> bool:
            try:
                self._maker_of(job, item).call(job, item, self._jobs.catalogue)
            except ModelUnavailable:
                return False
            except InputImageGone:
                return True
            return True

        self._blocked_jobs.block(job.id, Blocked(f"{error.reason}; put it back or cancel job {job.id}", is_resolved))

    def _pause_if_all_blocked(self) -> None:
        """Pause the queue with its reason once nothing is left but jobs whose models are gone."""
        blocked = self._blocked_jobs.job_ids()
        if self._pause.is_paused or self._in_flight or self._results.has_open or not blocked:
            return
        if self._ledger.next_ready_at(blocked) is None:
            self._pause.pause(Blocked(self._blocked_jobs.reason(), self._has_runnable_job, check_every_turn=True))

    def _has_runnable_job(self) -> bool:
        blocked = self._blocked_jobs.job_ids()
        return not blocked or self._ledger.next_ready_at(blocked) is not None

    def _sleep_seconds(self) -> float | None:
        if self._wake_requested:
            return 0.0
        if self._pause.is_paused:
            due: list[float | None] = [self._pause.seconds_to_check()]
        elif len(self._in_flight) >= MAX_IN_FLIGHT:
            return None
        else:
            ready_at = self._ledger.next_ready_at(self._blocked_jobs.job_ids())
            due = [None if ready_at is None else ready_at - self._clock()]
        due += [self._blocked_jobs.seconds_to_check(), self._sync_retry.seconds_to_retry()]
        seconds = [one for one in due if one is not None]
        # Not longer than this, because the clock may be set back meanwhile.
        return min(MAX_SLEEP_SECONDS, max(0.0, min(seconds))) if seconds else None

    def _return_in_flight(self, stop_at: float) -> None:
        """Let the first call finish until `stop_at` and queue the others again; cancelled ones are not waited for."""
        first = next((running for running in self._in_flight if not self._results.is_cancelled(running)), None)
        for running in [running for running in self._in_flight if running is not first]:
            self._in_flight.remove(running)
            running.handle.cancel()
            self._results.requeue(running)
        for running in self._in_flight:
            seconds = stop_at - time.monotonic()
            if seconds > 0 and not running.handle.done():
                log.info("%s gets up to %.0f s to finish, else it is made again", running, seconds)
            try:
                running.handle.future.exception(max(0.0, stop_at - time.monotonic()))
            except TimeoutError:
                running.handle.cancel()
                self._results.requeue(running)
                self._in_flight.clear()
                break
        try:
            self._collect_ended()
            self._results.settle()
            self._results.publish()
            self._results.finish_jobs()
            self._results.requeue_unpublished()
        except IndexdError as error:
            log.warning("the queue stopped with this left over, the next start takes it up: %s", error)
