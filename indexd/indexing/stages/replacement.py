"""Edited files: compares an image with the annotated one that it replaced. If both are the same, it inherits the annotations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from indexd.indexing.stages.index_stage import NO_FILE_REASON, IndexStage, StageContext, TaskBatch
from indexd.indexing.stages.registry import register_stage
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask
from indexd.store.records.indexing import REPLACEMENT_STAGE
from indexd.worker.calls import ComparedImage, CompareImages, ImagesCompared

log = logging.getLogger(__name__)

MISSING_IMAGE_RETRY_SECONDS = 600.0


@register_stage
class ReplacementStage(IndexStage):
    """Compares thumbnails in the decode lane. Its tasks come from replaced files, so no new image needs it."""

    name = REPLACEMENT_STAGE
    order = 0  # first: a person has just edited the file and expects to see its rating
    is_optional = True

    def build(self, tasks: Sequence[IndexTask], context: StageContext) -> TaskBatch | None:
        store = context.store
        ids = [task.image_id for task in tasks]
        candidates = store.replacements.candidates(ids)
        every = sorted({*candidates, *(old for olds in candidates.values() for old in olds)})
        hashes, paths = store.images.content_hashes(every), store.images.paths(every)
        sides = {image_id: ComparedImage(image_id, hashes[image_id], paths.get(image_id)) for image_id in every}
        ready = tuple(task for task in tasks if task.image_id in candidates)
        store.index_tasks.mark_done(self.name, [image_id for image_id in ids if image_id not in candidates])
        if not ready:
            return None
        pairs = tuple((sides[old], sides[task.image_id]) for task in ready for old in candidates[task.image_id])
        target = context.thumbnails
        return TaskBatch(self.name, ready, CompareImages(pairs, target.folder, target.size_px))

    def store(self, batch: TaskBatch, result: Any, context: StageContext) -> Mapping[int, str]:
        """Copy the annotations where both sides show the same image, and delete the candidates.

        A new image without a file waits. An old one without a thumbnail cannot be compared: its annotations stay with
        the old content, which is logged as an event.
        """
        call, compared = batch.call, result
        assert isinstance(call, CompareImages) and isinstance(compared, ImagesCompared)
        store = context.store
        verdicts: dict[int, dict[int, bool]] = {}
        without_file: set[int] = set()
        not_compared = 0
        for (old, new), verdict in zip(call.pairs, compared.verdicts, strict=True):
            if verdict == "unseen new":
                without_file.add(new.image_id)
                continue
            not_compared += verdict == "unseen old"
            verdicts.setdefault(new.image_id, {})[old.image_id] = verdict is True
        kept = store.replacements.settle(verdicts)
        for image_id in without_file:
            store.index_tasks.mark_blocked(
                self.name, image_id, NO_FILE_REASON, retry_at=context.now + MISSING_IMAGE_RETRY_SECONDS
            )
        if kept:
            _log_event(store, f"{kept} edited files show the same image as before: rating, tags and note are kept")
        if not_compared:
            why = "the image that was there left no thumbnail to compare: its annotations stay with the old content"
            _log_event(store, f"{not_compared} files were overwritten, and {why}")
        return {}


def _log_event(store: IndexStore, text: str) -> None:
    log.info("%s", text)
    store.events.add("replacement", text)
