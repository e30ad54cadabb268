"""Which stage has its turn, and how much of its work goes to a worker at once."""

from __future__ import annotations

from collections.abc import Sequence

from indexd.indexing.stages import STAGES, role_of_stage
from indexd.store.protocols import IndexStorage
from indexd.store.records import IndexTask
from indexd.worker.calls import FACES, WorkerSettings

BATCHES_PER_TURN = 16
"""Batches of one stage before the next one has its turn."""
THUMBNAIL_BATCH_SIZE = 16


class BatchScheduler:
    """Takes work from the ledger in batches: as large as the settings say, smaller after one was too large."""

    def __init__(self, store: IndexStorage, settings: WorkerSettings) -> None:
        self._store = store
        self._settings = settings
        self._turns: dict[str, int] = {}
        self._max_batch_sizes: dict[str, int] = {}
        self._isolated: dict[str, list[IndexTask]] = {}
        self._taken: dict[str, Sequence[IndexTask]] = {}

    def stage_order(self) -> Sequence[str]:
        """The stages in the order in which they have their turn."""
        return sorted(STAGES, key=lambda stage: self._turns.get(stage, 0) // BATCHES_PER_TURN)

    def take(self, stage: str, now: float) -> Sequence[IndexTask]:
        """Items for one batch of `stage`, which is its turn; none = nothing is ready.

        The ledger has them as taken, so they are given again and again until somebody else has them: see `handed_on`.
        """
        if stage in self._taken:
            return self._taken[stage]
        items = self._take(stage, now)
        if items:
            self._turns[stage] = self._turns.get(stage, 0) + 1
            self._taken[stage] = items
        else:
            self._turns.pop(stage, None)
        return items

    def mark_sent(self, stage: str) -> None:
        """What was taken of `stage` is in the hands of a worker, or settled."""
        self._taken.pop(stage, None)

    def halve_batch_size(self, stage: str, batch_size: int) -> int:
        """A batch of so many was too large for the device; how many go at once from now on."""
        self._max_batch_sizes[stage] = max(1, batch_size // 2)
        return self._max_batch_sizes[stage]

    def requeue_all(self) -> None:
        """What was taken and waits here was not tried after all."""
        for waiting in (self._taken, self._isolated):
            for stage, items in waiting.items():
                self._store.index_tasks.requeue(stage, [item.image_id for item in items])

    def _take(self, stage: str, now: float) -> list[IndexTask]:
        """What was tried before goes alone: it may be what killed the batch it was in."""
        alone = self._isolated.setdefault(stage, [])
        if not alone:
            items = list(self._store.index_tasks.claim(stage, self._batch_size(stage), now))
            fresh = [item for item in items if item.attempts <= 1]
            alone.extend(item for item in items if item.attempts > 1)
            if fresh:
                return fresh
        return [alone.pop(0)] if alone else []

    def _batch_size(self, stage: str) -> int:
        role = role_of_stage(stage)
        if role is None:
            wanted = THUMBNAIL_BATCH_SIZE
        elif role == FACES:
            wanted = self._settings.faces.batch_size
        else:
            wanted = self._settings.models[role].batch_size
        return min(wanted, self._max_batch_sizes.get(stage, wanted))
