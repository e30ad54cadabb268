"""Hands the work that the index holds to the workers, in batches, and puts the results back.

One thread. It sleeps until work is announced, a batch comes back, or the clock says that something may be tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from indexd.errors import StoreError, is_transient
from indexd.indexing.batch_failures import (
    BackOffRole,
    GiveUpTask,
    HalveBatch,
    IsolateTasks,
    Requeue,
    RetryLater,
    decide_on_failure,
)
from indexd.indexing.batch_scheduler import BatchScheduler
from indexd.indexing.model_changes import ModelChanges
from indexd.indexing.role_backoff import RoleBackoff
from indexd.indexing.stages import LAYERS, THUMBNAIL, role_of_stage
from indexd.indexing.task_batch import DimensionMismatch, TaskBatch, ThumbnailTarget, build_batch, store_result
from indexd.liveness import Liveness
from indexd.store.protocols import IndexStorage
from indexd.worker.call_handle import CallHandle, WorkerBackend
from indexd.worker.calls import FACES, EmbedText, FindFaces, Priority, WorkerSettings
from indexd.worker.role_availability import role_fingerprint, role_problem
from indexd.worker.routing import DECODE, lane_of_role

log = logging.getLogger(__name__)

POLL_SECONDS = 30.0
"""How often the ledger is looked at when nothing was announced: work whose time to be retried has come."""
MAX_BATCHES_PER_LANE = 2
"""Batches given to a lane at once, so that it never waits while a result is being stored."""
STAGE_TIMEOUT_SECONDS = {THUMBNAIL: 120.0}
DEFAULT_STAGE_TIMEOUT_SECONDS = 900.0
"""A first batch may load gigabytes from a slow disk without a sign of life."""


@dataclass(frozen=True, slots=True)
class _InFlightBatch:
    batch: TaskBatch
    lane: str
    call: CallHandle
    fingerprint: str | None


class IndexDispatcher:
    """Drives thumbnails and layers. `now` is seconds since the epoch, like the ledger's own times."""

    def __init__(
        self,
        store: IndexStorage,
        workers: WorkerBackend,
        settings: WorkerSettings,
        thumbnails: ThumbnailTarget,
        on_failure: Callable[[BaseException], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`on_failure` hears of a defect that ended the thread."""
        self._store = store
        self._workers = workers
        self._settings = settings
        self._thumbnails = thumbnails
        self._on_failure = on_failure
        self._now = now
        self._condition = threading.Condition()
        self._notified = True
        self._idle = False
        self._stopping = False
        self._in_flight: list[_InFlightBatch] = []
        self._backoff = RoleBackoff(partial(role_fingerprint, settings))
        self._scheduler = BatchScheduler(store, settings)
        self._model_changes = ModelChanges(store, settings)
        self._model_files_compared = False
        self._thread = threading.Thread(target=self._run, name="layers", daemon=True)
        self.liveness = Liveness("layers", wake=self.signal_new_work)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def signal_new_work(self) -> None:
        """There is new work, or a model has appeared; from any thread, cheap."""
        with self._condition:
            self._notified = True
            self._condition.notify_all()

    def mark_role_working(self, role: str) -> None:
        """The model of `role` was just tried and works: what waits for it need not wait longer. From any thread."""
        self._backoff.mark_working(role)
        self.signal_new_work()

    def drain(self) -> None:
        """Wait until nothing is left that could be done now; what waits for a model or for its time is left waiting."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or (self._idle and not self._notified))

    def stop(self, deadline: float = 10.0) -> None:
        """Take nothing more, cancel what is in hand and give it back; wait at most `deadline` seconds for that.

        What a hung worker keeps longer than that is found again by the ledger at the next start.
        """
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            in_hand = list(self._in_flight)
        for one in in_hand:
            one.call.cancel()
        if self._thread.is_alive():
            self._thread.join(deadline)

    def blocked_roles(self) -> dict[str, str]:
        """Every role whose work waits, with the reason: no model, or it failed when it was last tried."""
        off = {role: reason for role in _layer_roles() if (reason := role_problem(self._settings, role)) is not None}
        return {**self._backoff.reasons(), **off}

    def step(self) -> bool:
        """Store what came back and hand out what is ready; answers whether anything happened. Never waits."""
        self.liveness.beat()
        self._backoff.clear_repaired(self._now(), POLL_SECONDS)
        finished = [one for one in self._in_flight if one.call.done()]
        for one in finished:
            self._store_finished(one)
            # Only now: when the index could not take the result, it is offered again.
            with self._condition:
                self._in_flight.remove(one)
        sent = False
        while not self._stopping and self._send_next_batch():
            sent = True
        return bool(finished) or sent

    def _run(self) -> None:
        try:
            while not self._is_finished():
                self._work_and_wait()
            self._scheduler.requeue_all()
        except Exception as error:
            if self._stopping and isinstance(error, StoreError):
                log.warning("the index could not take back what was in hand; it is found again at the next start")
                return
            log.exception("the thread of thumbnails and layers broke down")
            with self._condition:
                self._stopping = True  # nobody waits for what will not be done any more
                self._condition.notify_all()
            if self._on_failure is not None:
                self._on_failure(error)

    def _is_finished(self) -> bool:
        with self._condition:
            return self._stopping and not self._in_flight

    def _work_and_wait(self) -> None:
        try:
            if not self._model_files_compared:
                self._model_changes.compare_files()
                self._model_files_compared = True
            while self.step():
                pass
        except (StoreError, OSError) as error:
            if self._stopping or not (isinstance(error, StoreError) or is_transient(error)):
                raise
            log.error("thumbnails and layers wait for the index, looking again in %g s: %s", POLL_SECONDS, error)
            with self._condition:
                self._condition.wait_for(lambda: self._stopping, POLL_SECONDS)
            return
        with self._condition:
            if not self._notified and not self._has_finished_batch():
                self._idle = not self._in_flight
                self._condition.notify_all()
                self._condition.wait(POLL_SECONDS)
                self._idle = False
            self._notified = False

    def _has_finished_batch(self) -> bool:
        over = self._stopping and not self._in_flight
        return over or any(one.call.done() for one in self._in_flight)

    def _send_next_batch(self) -> bool:
        now = self._now()
        for stage, lane in self._ready_stages(now):
            if self._model_changes.needs_identity_check(stage):
                role = LAYERS[stage].role
                self._send(TaskBatch(stage, (), FindFaces(()) if role == FACES else EmbedText(role, ())), lane)
                self._model_changes.mark_check_sent(stage)
                return True
            items = self._scheduler.take(stage, now)
            if not items:
                continue
            batch = build_batch(self._store, stage, items, self._thumbnails, now)
            if batch is not None:
                self._send(batch, lane)
            self._scheduler.mark_sent(stage)
            return True
        return False

    def _ready_stages(self, now: float) -> Iterator[tuple[str, str]]:
        """The stages that could be sent now, each with its lane, in the order in which they have their turn."""
        busy: dict[str, int] = {}
        for one in self._in_flight:
            busy[one.lane] = busy.get(one.lane, 0) + 1
        for stage in self._scheduler.stage_order():
            role = role_of_stage(stage)
            lane = DECODE if role is None else lane_of_role(role, self._settings)
            if busy.get(lane, 0) >= MAX_BATCHES_PER_LANE or self._backoff.is_backed_off(role or THUMBNAIL, now):
                continue
            if role is None or role_problem(self._settings, role) is None:
                yield stage, lane

    def _send(self, batch: TaskBatch, lane: str) -> None:
        silence = STAGE_TIMEOUT_SECONDS.get(batch.stage, DEFAULT_STAGE_TIMEOUT_SECONDS)
        stamp = self._model_changes.take_fingerprint(batch.stage)
        call = self._workers.submit(batch.call, priority=Priority.BACKGROUND, timeout_seconds=silence)
        with self._condition:
            self._in_flight.append(_InFlightBatch(batch, lane, call, stamp))
        call.future.add_done_callback(lambda _future: self._wake())

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _store_finished(self, in_flight: _InFlightBatch) -> None:
        error = in_flight.call.future.exception()
        if error is not None:
            self._handle_failure(in_flight.batch, error)
            return
        try:
            store_result(self._store, in_flight.batch, in_flight.call.result(), self._now())
        except DimensionMismatch as wrong:
            self._handle_failure(in_flight.batch, wrong)
            return
        role = role_of_stage(in_flight.batch.stage)
        self._backoff.clear(role or THUMBNAIL)
        if role is not None and in_flight.fingerprint is not None:
            self._model_changes.store_fingerprint(in_flight.batch.stage, in_flight.fingerprint)

    def _handle_failure(self, batch: TaskBatch, error: BaseException) -> None:
        """Do what the verdict on a failed batch says."""
        work, now, stage = self._store.index_tasks, self._now(), batch.stage
        self._model_changes.discard_fingerprint(stage)
        if not batch.tasks:
            self._model_changes.check_again(stage)
        match decide_on_failure(batch, role_of_stage(stage), error):
            case Requeue():
                work.requeue(stage, batch.image_ids)
                if not self._stopping:  # the workers stop before we do: no use in asking them again and again
                    self._backoff.back_off(role_of_stage(stage) or THUMBNAIL, str(error), now)
            case BackOffRole(role, reason):
                work.requeue(stage, batch.image_ids)
                if self._backoff.back_off(role, reason, now):
                    log.warning("work for %s waits: %s", role, reason)
            case HalveBatch():
                work.requeue(stage, batch.image_ids)
                largest = self._scheduler.halve_batch_size(stage, len(batch.tasks))
                log.info("%s goes on with batches of %d: %s", stage, largest, error)
            case IsolateTasks():
                log.warning("%s: a batch of %d failed, trying them one by one: %s", stage, len(batch.tasks), error)
                for image_id in batch.image_ids:
                    work.mark_failed(stage, image_id, str(error), retry_at=now)
            case RetryLater(seconds):
                work.mark_failed(stage, batch.image_ids[0], str(error), retry_at=now + seconds)
            case GiveUpTask():
                log.warning("%s: image %d is set aside: %s", stage, batch.image_ids[0], error)
                work.mark_failed(stage, batch.image_ids[0], str(error), retry_at=None)


def _layer_roles() -> list[str]:
    return sorted({layer.role for layer in LAYERS.values()})
