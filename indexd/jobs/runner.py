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

from indexd.errors import IndexdError, ModelOff, StorageFull, StoreUnavailable, may_pass
from indexd.jobs.absent import AbsentModels
from indexd.jobs.closing import Closing
from indexd.jobs.facade import Jobs
from indexd.jobs.hand import Hand, order_of
from indexd.jobs.interruptions import take_up
from indexd.jobs.late_moves import LateMoves
from indexd.jobs.outcomes import Outcomes
from indexd.jobs.queue_pause import QueuePause
from indexd.jobs.rows import is_over, known_job
from indexd.jobs.setbacks import InputGone, Setback, disk_has_room
from indexd.pulse import Pulse
from indexd.store.index import Store
from indexd.store.records import ItemRow, JobRow
from indexd.worker.calls import Priority
from indexd.worker.handle import Submits

log = logging.getLogger(__name__)

# One render runs, one waits in the worker: more would only make cancelling and priorities slower.
IN_HAND = 2
SILENCE_SECONDS = 900.0
STOP_SECONDS = 10.0
LONGEST_REST_SECONDS = 60.0


def _raise(error: BaseException) -> None:
    raise error


class JobRunner:
    """Works through the ledger. `on_failure` hears of a bug that ended the thread."""

    def __init__(
        self,
        store: Store,
        workers: Submits,
        jobs: Jobs,
        on_failure: Callable[[BaseException], None] = _raise,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._ledger = store.jobs
        self._workers = workers
        self._jobs = jobs
        self._on_failure = on_failure
        self._clock = clock
        self._in_hand: deque[Hand] = deque()
        self._closing = Closing(store, jobs)
        self._pause = QueuePause(store)
        self._absent = AbsentModels()
        self._outcomes = Outcomes(store, jobs, self._closing, self._pause, self._absent, clock)
        self._late_moves = LateMoves(jobs.mirror)
        self._wake = threading.Event()
        self._stop_at: float | None = None
        self._thread: threading.Thread | None = None
        self.pulse = Pulse("jobs", wake=self.notify)
        jobs.listen(self.notify)

    def start(self) -> None:
        """Take up what an earlier process left, then work in a thread until `stop`."""
        self.take_up()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def stop(self, deadline: float = STOP_SECONDS) -> None:
        """Take nothing new, finish the render in hand within `deadline` seconds, hand back the rest."""
        self._stop_at = time.monotonic() + deadline
        self.notify()
        if self._thread is not None:
            self._thread.join()

    def notify(self) -> None:
        """Something changed; take a turn."""
        self._wake.set()

    def take_up(self) -> None:
        """Adopt the pictures that were finished when the process ended, queue again what was begun, bring files along."""
        self._pause.resume()
        self._jobs.mirror.folders.prepare()
        self._jobs.mirror.folders.sweep()
        take_up(self._store, self._jobs.publisher)
        for job in self._ledger.unfinished():
            self._closing.look_at(job.id)
        self._closing.close_ended()
        self._jobs.mirror.settle_all()

    def turn(self) -> float | None:
        """Do everything that can be done now. Seconds until the next turn is worth while; None = until notified."""
        self.pulse.beat()
        now = self._clock()
        try:
            self._absent.probe(now)
            self._pause.probe(now)
            self._take_ended()
            while len(self._in_hand) < IN_HAND and self._may_begin() and self._begin_next(now):
                pass
            self._outcomes.settle()
            self._outcomes.publish()
            self._closing.close_ended()
            self._late_moves.look(now)
            self._wait_for_absent(now)
            return self._rest()
        except StorageFull as error:
            room = Setback(str(error), lambda: disk_has_room(self._store.path.parent))
            self._pause.set_back(room, self._clock())
        except (StoreUnavailable, OSError) as error:
            if not may_pass(error):
                raise
            # Nothing to look at: the next turn will tell.
            self._pause.set_back(Setback(str(error), lambda: True), self._clock())
        return self._rest()  # which asks the index nothing while the queue waits

    def _run(self) -> None:
        try:
            while self._stop_at is None:
                self._wake.clear()
                rest = self.turn()
                if self._stop_at is None:
                    self._wake.wait(rest)
            self._hand_back(self._stop_at)
            self._late_moves.last_try()
        except Exception as error:
            if self._stop_at is not None and isinstance(error, StoreUnavailable):
                log.warning(
                    "the index could not take back what was in hand; it is found again at the next start: %s", error
                )
                return
            log.exception("the queue of jobs broke down")
            self._on_failure(error)

    def _may_begin(self) -> bool:
        return self._stop_at is None and not self._pause.on and not self._outcomes.unpublished

    def _begin_next(self, now: float) -> bool:
        """Hand one more render to the worker. False when there is none to hand over."""
        item = self._ledger.next_item(now, self._absent.jobs())
        if item is None:
            return False
        job = known_job(self._ledger, item.job_id)
        self._closing.look_at(job.id)
        try:
            order = order_of(job, item, self._jobs.catalogue)
        except ModelOff as error:
            self._wait_for_models(job, item, error)
            return True
        except InputGone as error:
            self._ledger.item_failed(item.id, str(error), retry_at=None)
            return True
        try:
            attempt = self._ledger.begin(item.id)
        except LookupError:
            return True  # cancelled in this very moment
        call = self._workers.submit(order.call, priority=Priority.JOB, timeout_seconds=SILENCE_SECONDS)
        self._in_hand.append(Hand(item, order, call, attempt, time.monotonic()))
        call.future.add_done_callback(lambda _future: self.notify())
        return True

    def _take_ended(self) -> None:
        """Take the hands whose call is over out of the row; those of cancelled jobs are told to end."""
        for hand in self._in_hand:
            if not hand.call.done() and self._outcomes.is_cancelled(hand):
                hand.call.cancel()
        ended = [hand for hand in self._in_hand if hand.call.done()]
        for hand in ended:
            self._in_hand.remove(hand)
        if ended and self._in_hand:
            self._in_hand[0].began_at = time.monotonic()
        for hand in ended:
            hand.ended_at = time.monotonic()
        self._outcomes.take(ended)

    def _wait_for_models(self, job: JobRow, item: ItemRow, error: ModelOff) -> None:
        def cured() -> bool:
            try:
                order_of(job, item, self._jobs.catalogue)
            except ModelOff:
                return is_over(self._ledger, job.id)
            except InputGone:
                return True
            return True

        setback = Setback(f"{error.reason}; put it back or cancel job {job.id}", cured)
        self._absent.hold(job.id, setback, self._clock())

    def _wait_for_absent(self, now: float) -> None:
        """The queue waits as a whole, and says why, once nothing is left but jobs whose models are gone."""
        if self._pause.on or self._in_hand or self._outcomes.open or not self._absent.jobs():
            return
        if self._ledger.next_ready_at(self._absent.jobs()) is None:
            setback = Setback(self._absent.reason(), self._something_to_do, prompt=True)
            self._pause.set_back(setback, now)

    def _something_to_do(self) -> bool:
        return not self._absent.jobs() or self._ledger.next_ready_at(self._absent.jobs()) is not None

    def _rest(self) -> float | None:
        """Seconds to sleep."""
        if self._wake.is_set():
            return 0.0
        if self._pause.on:
            due = [self._pause.probe_at]
        elif len(self._in_hand) >= IN_HAND:
            return None
        else:
            ready_at = self._ledger.next_ready_at(self._absent.jobs())
            due = [] if ready_at is None else [ready_at]
        if self._absent.jobs():
            due.append(self._absent.probe_at())
        if self._late_moves.due_at is not None:
            due.append(self._late_moves.due_at)
        # Not longer than this, because the clock may be set back meanwhile.
        return min(LONGEST_REST_SECONDS, max(0.0, min(due) - self._clock())) if due else None

    def _hand_back(self, stop_at: float) -> None:
        """Let the first render finish until `stop_at`, hand back the others; nobody waits for a cancelled one."""
        first = next((hand for hand in self._in_hand if not self._outcomes.is_cancelled(hand)), None)
        for hand in [hand for hand in self._in_hand if hand is not first]:
            self._in_hand.remove(hand)
            hand.call.cancel()
            self._outcomes.give_back(hand)
        for hand in self._in_hand:
            seconds = stop_at - time.monotonic()
            if seconds > 0 and not hand.call.done():
                where = f"job {hand.item.job_id}, picture {hand.item.index + 1}"
                log.info("%s gets up to %.0f s to be finished, else it is made again", where, seconds)
            try:
                hand.call.future.exception(max(0.0, stop_at - time.monotonic()))
            except TimeoutError:
                hand.call.cancel()
                self._outcomes.give_back(hand)
                self._in_hand.clear()
                break
        try:
            self._take_ended()
            self._outcomes.settle()
            self._outcomes.publish()
            self._closing.close_ended()
            self._outcomes.give_back_unpublished()
        except IndexdError as error:
            log.warning("the queue stopped with this left over, the next start takes it up: %s", error)
