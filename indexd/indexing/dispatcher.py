"""Sends index tasks to the workers in batches and stores the results.

One thread. It sleeps until new work is signalled, a batch comes back, or a retry is due.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from indexd.background.background_service import BackgroundService
from indexd.background.backoff import Backoff
from indexd.errors import StoreError
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
from indexd.indexing.decoded_images import DecodedImages
from indexd.indexing.model_changes import ModelChanges
from indexd.indexing.role_backoff import RoleBackoff
from indexd.indexing.stages import THUMBNAIL
from indexd.indexing.stages.index_stage import (
    DimensionMismatch,
    IndexStage,
    StageContext,
    TaskBatch,
    ThumbnailTarget,
    settle_problems,
)
from indexd.indexing.stages.registry import all_stages
from indexd.store.protocols import IndexStore
from indexd.worker.call_handle import CallHandle, WorkerBackend
from indexd.worker.calls import WorkerSettings

log = logging.getLogger(__name__)

POLL_SECONDS = 30.0
"""How often tasks are looked for without a wake-up (a retry may be due), and the pause after an error of the index."""
STOP_SECONDS = 10.0
MAX_BATCHES_PER_LANE = 2
"""Batches of one priority given to a lane at once, so that it never waits while a result is being stored."""


@dataclass(frozen=True, slots=True)
class _InFlightBatch:
    stage: IndexStage
    batch: TaskBatch
    lane: str
    call: CallHandle
    sent_at: float
    fingerprint: str | None


class IndexDispatcher(BackgroundService):
    """Runs every index stage. `now` is seconds since the epoch, like the times in the index.

    `wake` it when there are new tasks, or when a model has appeared.
    """

    def __init__(
        self,
        store: IndexStore,
        workers: WorkerBackend,
        settings: WorkerSettings,
        thumbnails: ThumbnailTarget,
        on_failure: Callable[[BaseException], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("layers", on_failure=on_failure, retry=Backoff(POLL_SECONDS))
        self._store = store
        self._workers = workers
        self._settings = settings
        self._thumbnails = thumbnails
        self._now = now
        self._idle = False
        self._in_flight: list[_InFlightBatch] = []
        self._backoff = RoleBackoff(workers.role_fingerprint, now)
        self._scheduler = BatchScheduler(store, settings)
        self._model_changes = ModelChanges(store, workers.role_fingerprint)
        self._decoded = DecodedImages(os.path.join(settings.cache_folder, "decoded"))
        self._lane_busy_until: dict[str, float] = {}
        self._model_files_compared = False

    def start(self) -> None:
        """Start the thread."""
        self._decoded.clear()
        super().start()

    def wake(self) -> None:
        """Have the next tasks looked for. From any thread, cheap."""
        with self.condition:
            self._idle = False
            super().wake()

    def mark_role_working(self, role: str) -> None:
        """The model of `role` was just run and works: end its back-off. From any thread."""
        self._backoff.mark_working(role)
        self.wake()

    def drain(self) -> None:
        """Wait until no task is left that could run now; tasks that wait for a model or for a retry stay."""
        with self.condition:
            self.condition.wait_for(lambda: self.is_stopping or self._idle)

    def stop(self, timeout_seconds: float | None = STOP_SECONDS) -> bool:
        """Send nothing more, cancel the batches in flight and requeue their tasks; returns whether that is done in time.

        What a hung worker keeps longer than that is requeued at the next start.
        """
        return super().stop(timeout_seconds)

    def blocked_roles(self) -> dict[str, str]:
        """Every role whose tasks wait, with the reason: no model, or it failed when it was last tried."""
        roles = sorted({stage.role for stage in all_stages() if stage.role is not None})
        off = {role: reason for role in roles if (reason := self._workers.role_problem(role)) is not None}
        return {**self._backoff.reasons(), **off}

    def step(self) -> bool:
        """Store finished batches and send what is ready; return whether anything happened. Never waits."""
        self.liveness.beat()
        self._backoff.clear_repaired(POLL_SECONDS)
        finished = [one for one in self._in_flight if one.call.done()]
        for one in finished:
            self._store_finished(one)
            # Only now: when the index could not store the result, it is stored again at the next step.
            self._in_flight.remove(one)
        sent = False
        while not self.is_stopping and self._send_next_batch():
            sent = True
        return bool(finished) or sent

    def run_once(self) -> float:
        """Do everything that can be done now; the next turn is due when a retry may be."""
        self._idle = False
        if not self._model_files_compared:
            self._model_changes.compare_files()
            self._model_files_compared = True
        while self.step():
            pass
        with self.condition:
            self._idle = not self._in_flight and not self._wake_requested
            self.condition.notify_all()
        return POLL_SECONDS

    def is_retryable(self, error: Exception) -> bool:
        """Every error of the index, because its tasks stay there."""
        return isinstance(error, StoreError) or super().is_retryable(error)

    def finish(self) -> None:
        """Cancel the batches in flight, and requeue what was claimed."""
        if self.failure is not None:
            return
        for one in self._in_flight:
            one.call.cancel()
        try:
            while self._in_flight:
                self.step()
                with self.condition:
                    self.condition.wait_for(self._can_collect, POLL_SECONDS)
            self._scheduler.requeue_all()
            self._decoded.clear()
        except StoreError:
            log.warning("tasks in flight could not be requeued in the index; they are requeued at the next start")

    def _can_collect(self) -> bool:
        return not self._in_flight or any(one.call.done() for one in self._in_flight)

    def _send_next_batch(self) -> bool:
        now = self._now()
        for stage, lane in self._ready_stages():
            if self._model_changes.needs_identity_check(stage) and (call := stage.identity_call()) is not None:
                self._send(stage, TaskBatch(stage.name, (), call), lane)
                self._model_changes.mark_check_sent(stage)
                return True
            after = THUMBNAIL if stage.takes_pixels and not self._backoff.is_backed_off(THUMBNAIL) else ""
            tasks = self._scheduler.take(stage, now, after)
            if not tasks:
                continue
            batch = stage.build(tasks, self._context())
            if batch is not None:
                self._send(stage, batch, lane)
            self._scheduler.mark_sent(stage)
            return True
        return False

    def _context(self) -> StageContext:
        now = self._now()
        usable = frozenset(stage.name for stage in all_stages() if stage.takes_pixels and self._is_usable(stage))
        return StageContext(self._store, self._settings, self._thumbnails, self._decoded, now, usable)

    def _is_usable(self, stage: IndexStage) -> bool:
        """Whether the model of the stage is there and did not fail just now."""
        if self._backoff.is_backed_off(_backoff_key(stage)):
            return False
        return stage.role is None or self._workers.role_problem(stage.role) is None

    def _ready_stages(self) -> Iterator[tuple[IndexStage, str]]:
        """The stages that could send a batch now, each with its lane, in the order of their turns."""
        # Images and texts are counted apart: an image goes to the worker at once, whatever prose waits there.
        busy = Counter((one.lane, one.stage.priority) for one in self._in_flight)
        for stage in self._scheduler.stage_order():
            lane = stage.lane(self._settings)
            if busy[lane, stage.priority] < MAX_BATCHES_PER_LANE and self._is_usable(stage):
                yield stage, lane

    def _send(self, stage: IndexStage, batch: TaskBatch, lane: str) -> None:
        fingerprint = self._model_changes.take_fingerprint(stage)
        call = self._workers.submit(batch.call, priority=stage.priority, timeout_seconds=stage.timeout_seconds)
        self._in_flight.append(_InFlightBatch(stage, batch, lane, call, self._now(), fingerprint))
        call.future.add_done_callback(lambda _future: self.wake())

    def _store_finished(self, in_flight: _InFlightBatch) -> None:
        stage, batch, now = in_flight.stage, in_flight.batch, self._now()
        self._scheduler.charge(stage, now - max(in_flight.sent_at, self._lane_busy_until.get(in_flight.lane, 0.0)))
        self._lane_busy_until[in_flight.lane] = now
        error = in_flight.call.future.exception()
        if error is None:
            try:
                self._store_result(stage, batch, in_flight.call.result())
            except DimensionMismatch as wrong:
                error = wrong
        if stage.name == THUMBNAIL:
            self._decoded.discard_unwritten(batch.image_ids)
        else:
            self._decoded.release(stage.name, batch.image_ids)
        if error is not None:
            self._handle_failure(stage, batch, error)
            return
        self._backoff.clear(_backoff_key(stage))
        if in_flight.fingerprint is not None:
            self._model_changes.store_fingerprint(stage.name, in_flight.fingerprint)

    def _store_result(self, stage: IndexStage, batch: TaskBatch, result: Any) -> None:
        context = self._context()
        settle_problems(batch, stage.store(batch, result, context), context)

    def _handle_failure(self, index_stage: IndexStage, batch: TaskBatch, error: BaseException) -> None:
        """Carry out what `decide_on_failure` says."""
        work, now, stage = self._store.index_tasks, self._now(), batch.stage
        self._model_changes.discard_fingerprint(stage)
        if not batch.tasks:
            self._model_changes.check_again(stage)
        match decide_on_failure(batch, index_stage.role, error):
            case Requeue():
                work.requeue(stage, batch.image_ids)
                if not self.is_stopping:  # workers that stop first would refuse the same batch again and again
                    self._backoff.back_off(_backoff_key(index_stage), str(error))
            case BackOffRole(role, reason):
                work.requeue(stage, batch.image_ids)
                self._decoded.release_stage(stage)
                if self._backoff.back_off(role, reason):
                    log.warning("index tasks of %s wait: %s", role, reason)
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
                log.warning("%s: image %d failed finally: %s", stage, batch.image_ids[0], error)
                work.mark_failed(stage, batch.image_ids[0], str(error), retry_at=None)


def _backoff_key(stage: IndexStage) -> str:
    return stage.role or THUMBNAIL
