"""The queue at work: items of the ledger -> renders in the worker -> published pictures.

One thread takes turns. A turn hands the next render to the worker *before* it publishes the one that came back, so the
card never waits for the disk. Between turns it sleeps until something happens: a render ended, a job came, a person
cancelled, a retry became due, or, while the machine is at fault, the next look at the cause. Idle, it wakes only to give a sign of life.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from indexd.errors import CallCancelled, IndexdError, ModelOff, StorageFull, StoreUnavailable, may_pass
from indexd.jobs.absent import AbsentModels
from indexd.jobs.closing import Closing, known_job
from indexd.jobs.facade import Jobs
from indexd.jobs.hand import Hand, order_of
from indexd.jobs.interruptions import take_up
from indexd.jobs.late_moves import LateMoves
from indexd.jobs.publish import FolderGone
from indexd.jobs.queue_pause import QueuePause
from indexd.jobs.setbacks import Again, Failed, InputGone, Setback, disk_has_room, judge
from indexd.pulse import Pulse
from indexd.store.index import Store
from indexd.store.records import ItemRow, JobRow
from indexd.worker.calls import Priority, Rendered
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
        self._over: deque[Hand] = deque()
        self._unpublished: deque[tuple[Hand, Rendered]] = deque()
        self._closing = Closing(store, jobs)
        self._pause = QueuePause(store)
        self._absent = AbsentModels()
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
            self._settle_ended()
            self._publish()
            self._closing.close_ended()
            self._late_moves.look(now)
            self._wait_for_absent(now)
        except StorageFull as error:
            self._set_back(str(error), lambda: disk_has_room(self._store.path.parent))
        except (StoreUnavailable, OSError) as error:
            if not may_pass(error):
                raise
            self._set_back(str(error), lambda: True)  # nothing to look at; the next turn will tell
        return self._rest()

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
        return self._stop_at is None and not self._pause.on and not self._unpublished

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
            if not hand.call.done() and self._is_cancelled(hand.item.job_id):
                hand.call.cancel()
        ended = [hand for hand in self._in_hand if hand.call.done()]
        for hand in ended:
            self._in_hand.remove(hand)
        if ended and self._in_hand:
            self._in_hand[0].began_at = time.monotonic()
        for hand in ended:
            hand.ended_at = time.monotonic()
        self._over.extend(ended)

    def _settle_ended(self) -> None:
        """Settle what is over. One that the ledger has no room for stays, and is settled when there is room again."""
        while self._over:
            self._settle(self._over[0])
            self._over.popleft()

    def _settle(self, hand: Hand) -> None:
        """What became of one render."""
        try:
            rendered: Rendered = hand.call.result(0)
        except CallCancelled:
            self._give_back(hand)
        except Exception as error:
            self._failed(hand, error)
        else:
            self._unpublished.append((hand, rendered))

    def _failed(self, hand: Hand, error: Exception) -> None:
        item = hand.item
        self._closing.look_at(item.job_id)
        with self._jobs.lock:
            if self._is_cancelled(item.job_id):
                return
            missing = hand.order.missing()
            if missing is not None or isinstance(error, (ModelOff, StorageFull)):
                self._ledger.give_back(item.id)
                self._machine_at_fault(hand, error, missing)
                return
            verdict = judge(error, hand.attempt)
            where = f"job {item.job_id}, picture {item.index + 1}"
            if isinstance(verdict, Failed):
                log.error("%s failed: %s", where, verdict.error)
                self._ledger.item_failed(item.id, verdict.error, retry_at=None)
                return
            log.warning("%s: %s; trying again in %g s", where, verdict.error, verdict.seconds)
            self._try_again(item, verdict)

    def _try_again(self, item: ItemRow, verdict: Again) -> None:
        due = self._clock() + verdict.seconds
        self._ledger.item_failed(item.id, verdict.error, retry_at=due)
        if verdict.pause:
            reason = f"{verdict.error} (job {item.job_id}, picture {item.index + 1}); trying again soon"
            self._set_back(reason, lambda: self._clock() >= due)

    def _machine_at_fault(self, hand: Hand, error: Exception, missing: Path | None) -> None:
        if isinstance(error, StorageFull):
            self._set_back(str(error), lambda: disk_has_room(self._store.path.parent))
        elif missing is not None:
            job_id, there = hand.item.job_id, missing.exists
            setback = Setback(
                f"the model {missing} is gone; put it back or cancel job {job_id}",
                lambda: there() or self._is_over(job_id),
            )
            self._absent.hold(job_id, setback, self._clock())
        else:
            text = f"{error}; or cancel job {hand.item.job_id}"
            self._set_back(text, lambda: True)  # nothing to look at; the next render will tell

    def _wait_for_models(self, job: JobRow, item: ItemRow, error: ModelOff) -> None:
        def cured() -> bool:
            try:
                order_of(job, item, self._jobs.catalogue)
            except ModelOff:
                return self._is_over(job.id)
            except InputGone:
                return True
            return True

        setback = Setback(f"{error.reason}; put it back or cancel job {job.id}", cured)
        self._absent.hold(job.id, setback, self._clock())

    def _wait_for_absent(self, now: float) -> None:
        """The queue waits as a whole, and says why, once nothing is left but jobs whose models are gone."""
        if self._pause.on or self._in_hand or self._over or self._unpublished or not self._absent.jobs():
            return
        if self._ledger.next_ready_at(self._absent.jobs()) is None:
            setback = Setback(self._absent.reason(), self._something_to_do, prompt=True)
            self._pause.set_back(setback, now)

    def _something_to_do(self) -> bool:
        return not self._absent.jobs() or self._ledger.next_ready_at(self._absent.jobs()) is not None

    def _publish(self) -> None:
        """Put what came back in its place; what cannot be put there now is kept and the queue waits."""
        while self._unpublished:
            hand, rendered = self._unpublished[0]
            if not self._publish_one(hand, rendered):
                return
            self._unpublished.popleft()
            self._closing.look_at(hand.item.job_id)

    def _publish_one(self, hand: Hand, rendered: Rendered) -> bool:
        item, folder = hand.item, hand.order.folder
        with self._jobs.lock:
            if self._is_cancelled(item.job_id):
                return True
            try:
                published = self._jobs.publisher.publish(item, hand.order.recipe, rendered, hand.seconds)
            except StorageFull as error:
                room = len(rendered.png)
                self._set_back(
                    str(error),
                    lambda: disk_has_room(folder, room) and disk_has_room(self._store.path.parent),
                )
                return False
            except StoreUnavailable as error:
                self._set_back(str(error), lambda: True)
                return False
            except FolderGone as error:
                self._set_back(
                    str(error), lambda: folder.is_dir() or folder.parent.is_dir() or self._is_over(item.job_id)
                )
                return False
            except OSError as error:
                if error.errno == errno.EROFS:
                    reason = (
                        f"the disk of {folder} has become read-only; mount it for writing or cancel job {item.job_id}"
                    )
                    self._set_back(reason, lambda: os.access(folder, os.W_OK) or self._is_over(item.job_id))
                    return False
                self._failed(hand, error)
                return True
        self._pause.worked()
        log.info("job %d, picture %d: %s (%.2f s)", item.job_id, item.index + 1, published.path, hand.seconds)
        return True

    def _give_back(self, hand: Hand) -> None:
        with self._jobs.lock:
            if not self._is_cancelled(hand.item.job_id):
                self._ledger.give_back(hand.item.id)

    def _is_cancelled(self, job_id: int) -> bool:
        return known_job(self._ledger, job_id).state == "cancelled"

    def _is_over(self, job_id: int) -> bool:
        return known_job(self._ledger, job_id).state not in ("queued", "running")

    def _set_back(self, reason: str, cured: Callable[[], bool]) -> None:
        self._pause.set_back(Setback(reason, cured), self._clock())

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
        first = next((hand for hand in self._in_hand if not self._is_cancelled(hand.item.job_id)), None)
        for hand in [hand for hand in self._in_hand if hand is not first]:
            self._in_hand.remove(hand)
            hand.call.cancel()
            self._give_back(hand)
        for hand in self._in_hand:
            seconds = stop_at - time.monotonic()
            if seconds > 0 and not hand.call.done():
                where = f"job {hand.item.job_id}, picture {hand.item.index + 1}"
                log.info("%s gets up to %.0f s to be finished, else it is made again", where, seconds)
            try:
                hand.call.future.exception(max(0.0, stop_at - time.monotonic()))
            except TimeoutError:
                hand.call.cancel()
                self._give_back(hand)
                self._in_hand.clear()
                break
        try:
            self._take_ended()
            self._settle_ended()
            self._publish()
            self._closing.close_ended()
            for hand, _rendered in self._unpublished:
                self._give_back(hand)
        except IndexdError as error:
            log.warning("the queue stopped with this left over, the next start takes it up: %s", error)
