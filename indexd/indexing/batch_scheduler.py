"""Which stage goes next, and how many of its tasks go to a worker at once."""

from __future__ import annotations

from collections.abc import Sequence

from indexd.indexing.stages.index_stage import IndexStage
from indexd.indexing.stages.registry import all_stages
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask
from indexd.worker.calls import WorkerSettings

BATCHES_PER_TURN = 16
"""Batches of one stage before the next one has its turn; a batch that takes longer counts for more."""
SECONDS_PER_BATCH = 1.0


class BatchScheduler:
    """Claims tasks in batches: as large as the settings say, smaller after one was too large for the device."""

    def __init__(self, store: IndexStore, settings: WorkerSettings) -> None:
        self._store = store
        self._settings = settings
        self._turns: dict[str, int] = {}
        self._max_batch_sizes: dict[str, int] = {}
        self._isolated: dict[str, list[IndexTask]] = {}
        self._claimed: dict[str, Sequence[IndexTask]] = {}

    def stage_order(self) -> Sequence[IndexStage]:
        """The stages in the order of their turns."""
        return sorted(all_stages(), key=lambda stage: self._turns.get(stage.name, 0) // BATCHES_PER_TURN)

    def take(self, stage: IndexStage, now: float, after: str = "") -> Sequence[IndexTask]:
        """Tasks for one batch of `stage`, which counts as its turn; none = nothing is ready.

        `after` as for `IndexTasks.claim`. The index has them as running, so they are returned again and again until
        `mark_sent`.
        """
        name = stage.name
        if name in self._claimed:
            return self._claimed[name]
        tasks = self._claim(stage, now, after)
        if tasks:
            self._turns[name] = self._turns.get(name, 0) + 1
            self._claimed[name] = tasks
        else:
            self._turns.pop(name, None)
        return tasks

    def mark_sent(self, stage: IndexStage) -> None:
        """The tasks that `take` returned were sent to a worker, or settled."""
        self._claimed.pop(stage.name, None)

    def charge(self, stage: IndexStage, seconds: float) -> None:
        """A batch of `stage` has kept its worker busy for so long: slow stages have their turn less often."""
        if stage.name in self._turns:
            self._turns[stage.name] += max(0, int(seconds / SECONDS_PER_BATCH))

    def halve_batch_size(self, stage: str, batch_size: int) -> int:
        """A batch of `batch_size` was too large for the device; the size from now on."""
        self._max_batch_sizes[stage] = max(1, batch_size // 2)
        return self._max_batch_sizes[stage]

    def requeue_all(self) -> None:
        """Give back what was claimed and not sent; the attempt does not count."""
        for held in (self._claimed, self._isolated):
            for stage, tasks in held.items():
                self._store.index_tasks.requeue(stage, [task.image_id for task in tasks])

    def _claim(self, stage: IndexStage, now: float, after: str) -> list[IndexTask]:
        """A task that was tried before goes alone: it may have killed the batch that it was in."""
        alone = self._isolated.setdefault(stage.name, [])
        if not alone:
            tasks = list(self._store.index_tasks.claim(stage.name, self._batch_size(stage), now, after))
            fresh = [task for task in tasks if task.attempts <= 1]
            alone.extend(task for task in tasks if task.attempts > 1)
            if fresh:
                return fresh
        return [alone.pop(0)] if alone else []

    def _batch_size(self, stage: IndexStage) -> int:
        wanted = stage.batch_size(self._settings)
        return min(wanted, self._max_batch_sizes.get(stage.name, wanted))
