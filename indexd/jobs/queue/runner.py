"""The queue at work: items of the ledger -> renders in the worker -> published pictures.

One thread takes turns. A turn hands the next render to the worker *before* it publishes the one that came back, so the
card never waits for the disk. Between turns it sleeps until something happens: a render ended, a job came, a person
cancelled, a retry became due, or, while the machine is at fault, the next look at the cause. Idle, it wakes only to give a sign of life.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from indexd.errors import IndexdError, ModelUnavailable, StorageFull, StoreUnavailable, is_transient
from indexd.jobs.files.sync import JobFileSyncRetry
from indexd.jobs.job_lookup import is_finished, require_job
from indexd.jobs.queue.blocked_jobs import BlockedJobs
from indexd.jobs.queue.completion import JobFinisher
from indexd.jobs.queue.pause import QueuePause
from indexd.jobs.queue.render_request import InFlightRender, build_render_request
from indexd.jobs.queue.restart import recover_in_flight
from indexd.jobs.queue.results import RenderResults
from indexd.jobs.queue.retry import Blocked, InputImageGone, has_free_space
from indexd.jobs.service import JobService
from indexd.liveness import Liveness
from indexd.store.protocols import IndexStore
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.call_handle import WorkerBackend
from indexd.worker.calls import Priority

log = logging.getLogger(__name__)

# One render runs, one waits in the worker: more would only make cancelling and priorities slower.
MAX_IN_FLIGHT = 2
RENDER_SILENCE_SECONDS = 900.0
STOP_SECONDS = 10.0
MAX_SLEEP_SECONDS = 60.0


def _raise(error: BaseException) -> None:
    raise error


class JobRunner:
    """Works through the ledger. `on_failure` hears of a bug that ended the thread."""

    def __init__(
        self,
        store: IndexStore,
        workers: WorkerBackend,
        jobs: JobService,
        on_failure: Callable[[BaseException], None] = _raise,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._ledger = store.jobs
        self._workers = workers
        self._jobs = jobs
        self._on_failure = on_failure
        self._clock = clock
        self._in_flight: deque[InFlightRender] = deque()
        self._finisher = JobFinisher(store, jobs)
        self._pause = QueuePause(store)
        self._blocked_jobs = BlockedJobs()
        self._results = RenderResults(store, jobs, self._finisher, self._pause, self._blocked_jobs, clock)
        self._sync_retry = JobFileSyncRetry(jobs.file_sync)
        self._wake = threading.Event()
        self._stop_at: float | None = None
        self._thread: threading.Thread | None = None
        self.liveness = Liveness("jobs", wake=self.wake)
        jobs.on_changed(self.wake)

    def start(self) -> None:
        """Take up what an earlier process left, then work in a thread until `stop`."""
        self.recover()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Take nothing new, finish the render in hand within `deadline` seconds, hand back the rest."""
        self._stop_at = time.monotonic() + grace_seconds
        self.wake()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        """Something changed; take a turn."""
        self._wake.set()

    def recover(self) -> None:
        """Adopt the pictures that were finished when the process ended, queue again what was begun, bring files along."""
        self._pause.resume()
        self._jobs.file_sync.folders.create()
        self._jobs.file_sync.folders.remove_temp_files()
        recover_in_flight(self._store, self._jobs.publisher)
        for job in self._ledger.unfinished():
            self._finisher.mark_changed(job.id)
        self._finisher.finish_ended_jobs()
        self._jobs.file_sync.settle_all()

    def run_once(self) -> float | None:
        """Do everything that can be done now. Seconds until the next turn is worth while; None = until notified."""
        self.liveness.beat()
        now = self._clock()
        try:
            self._blocked_jobs.check(now)
            self._pause.check(now)
            self._collect_finished()
            while len(self._in_flight) < MAX_IN_FLIGHT and self._can_start() and self._start_next(now):
                pass
            self._results.settle()
            self._results.publish()
            self._finisher.finish_ended_jobs()
            self._sync_retry.retry_when_due(now)
            self._pause_if_all_blocked(now)
            return self._sleep_seconds()
        except StorageFull as error:
            room = Blocked(str(error), lambda: has_free_space(self._store.path.parent))
            self._pause.pause(room, self._clock())
        except (StoreUnavailable, OSError) as error:
            if not is_transient(error):
                raise
            # Nothing to look at: the next turn will tell.
            self._pause.pause(Blocked(str(error), lambda: True), self._clock())
        return self._sleep_seconds()  # which asks the index nothing while the queue waits

    def _run(self) -> None:
        try:
            while self._stop_at is None:
                self._wake.clear()
                rest = self.run_once()
                if self._stop_at is None:
                    self._wake.wait(rest)
            self._return_in_flight(self._stop_at)
            self._sync_retry.final_attempt()
        except Exception as error:
            if self._stop_at is not None and isinstance(error, StoreUnavailable):
                log.warning(
                    "the index could not take back what was in hand; it is found again at the next start: %s", error
                )
                return
            log.exception("the queue of jobs broke down")
            self._on_failure(error)

    def _can_start(self) -> bool:
        return self._stop_at is None and not self._pause.is_paused and not self._results.has_unpublished

    def _start_next(self, now: float) -> bool:
        """Hand one more render to the worker. False when there is none to hand over."""
        item = self._ledger.next_item(now, self._blocked_jobs.job_ids())
        if item is None:
            return False
        job = require_job(self._ledger, item.job_id)
        self._finisher.mark_changed(job.id)
        try:
            order = build_render_request(job, item, self._jobs.catalogue)
        except ModelUnavailable as error:
            self._block_job(job, item, error)
            return True
        except InputImageGone as error:
            self._ledger.mark_item_failed(item.id, str(error), retry_at=None)
            return True
        try:
            attempt = self._ledger.begin_attempt(item.id)
        except LookupError:
            return True  # cancelled in this very moment
        call = self._workers.submit(order.call, priority=Priority.JOB, timeout_seconds=RENDER_SILENCE_SECONDS)
        self._in_flight.append(InFlightRender(item, order, call, attempt, time.monotonic()))
        call.future.add_done_callback(lambda _future: self.wake())
        return True

    def _collect_finished(self) -> None:
        """Take the hands whose call is over out of the row; those of cancelled jobs are told to end."""
        for hand in self._in_flight:
            if not hand.call.done() and self._results.is_cancelled(hand):
                hand.call.cancel()
        ended = [hand for hand in self._in_flight if hand.call.done()]
        for hand in ended:
            self._in_flight.remove(hand)
        if ended and self._in_flight:
            self._in_flight[0].started_at = time.monotonic()
        for hand in ended:
            hand.ended_at = time.monotonic()
        self._results.add(ended)

    def _block_job(self, job: JobRow, item: JobItemRow, error: ModelUnavailable) -> None:
        def cured() -> bool:
            try:
                build_render_request(job, item, self._jobs.catalogue)
            except ModelUnavailable:
                return is_finished(self._ledger, job.id)
            except InputImageGone:
                return True
            return True

        setback = Blocked(f"{error.reason}; put it back or cancel job {job.id}", cured)
        self._blocked_jobs.block(job.id, setback, self._clock())

    def _pause_if_all_blocked(self, now: float) -> None:
        """The queue waits as a whole, and says why, once nothing is left but jobs whose models are gone."""
        if self._pause.is_paused or self._in_flight or self._results.has_open or not self._blocked_jobs.job_ids():
            return
        if self._ledger.next_ready_at(self._blocked_jobs.job_ids()) is None:
            setback = Blocked(self._blocked_jobs.reason(), self._has_runnable_job, check_every_turn=True)
            self._pause.pause(setback, now)

    def _has_runnable_job(self) -> bool:
        return not self._blocked_jobs.job_ids() or self._ledger.next_ready_at(self._blocked_jobs.job_ids()) is not None

    def _sleep_seconds(self) -> float | None:
        """Seconds to sleep."""
        if self._wake.is_set():
            return 0.0
        if self._pause.is_paused:
            due = [self._pause.next_check_at]
        elif len(self._in_flight) >= MAX_IN_FLIGHT:
            return None
        else:
            ready_at = self._ledger.next_ready_at(self._blocked_jobs.job_ids())
            due = [] if ready_at is None else [ready_at]
        if self._blocked_jobs.job_ids():
            due.append(self._blocked_jobs.next_check_at())
        if self._sync_retry.next_retry_at is not None:
            due.append(self._sync_retry.next_retry_at)
        # Not longer than this, because the clock may be set back meanwhile.
        return min(MAX_SLEEP_SECONDS, max(0.0, min(due) - self._clock())) if due else None

    def _return_in_flight(self, stop_at: float) -> None:
        """Let the first render finish until `stop_at`, hand back the others; nobody waits for a cancelled one."""
        first = next((hand for hand in self._in_flight if not self._results.is_cancelled(hand)), None)
        for hand in [hand for hand in self._in_flight if hand is not first]:
            self._in_flight.remove(hand)
            hand.call.cancel()
            self._results.requeue(hand)
        for hand in self._in_flight:
            seconds = stop_at - time.monotonic()
            if seconds > 0 and not hand.call.done():
                where = f"job {hand.item.job_id}, picture {hand.item.index + 1}"
                log.info("%s gets up to %.0f s to be finished, else it is made again", where, seconds)
            try:
                hand.call.future.exception(max(0.0, stop_at - time.monotonic()))
            except TimeoutError:
                hand.call.cancel()
                self._results.requeue(hand)
                self._in_flight.clear()
                break
        try:
            self._collect_finished()
            self._results.settle()
            self._results.publish()
            self._finisher.finish_ended_jobs()
            self._results.requeue_unpublished()
        except IndexdError as error:
            log.warning("the queue stopped with this left over, the next start takes it up: %s", error)
