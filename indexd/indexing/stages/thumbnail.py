"""Thumbnail, perceptual hash and the metadata hidden in the pixels: all that decoding an image gives without a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from indexd.errors import CallCancelled, WorkerDied
from indexd.image_metadata.containers.stealth import STEALTH_CHUNK_KEY
from indexd.image_metadata.model import RawChunk
from indexd.images.reader_client import parse_stored_texts
from indexd.indexing.stages.index_stage import IndexStage, StageContext, TaskBatch, present_files
from indexd.indexing.stages.registry import register_stage, text_layers_by_input
from indexd.store.protocols import IndexStore
from indexd.store.records import IndexTask
from indexd.worker.calls import MakeThumbnails, StoredTexts, ThumbnailsMade

log = logging.getLogger(__name__)

THUMBNAIL = "thumbnail"
MAX_BATCH_PIXELS = 1 << 26
"""64 megapixels a batch: seven 4K images, 192 MB of pixels."""


@register_stage
class ThumbnailStage(IndexStage):
    """Decodes the image in the decode lane."""

    name = THUMBNAIL
    order = 10  # what people see first
    timeout_seconds = 120.0

    def build(self, tasks: Sequence[IndexTask], context: StageContext) -> TaskBatch | None:
        """Large images go in smaller batches: a batch is answered as a whole, and its pixels have to fit on disk."""
        ready, paths = present_files(self, tasks, context)
        if not ready:
            return None
        ids = [task.image_id for task in ready]
        pixels = context.store.images.pixel_counts(ids)
        total = list(accumulate(pixels.get(image_id, 0) for image_id in ids))
        count = max(1, sum(so_far <= MAX_BATCH_PIXELS for so_far in total))
        if count < len(ids):
            context.store.index_tasks.requeue(self.name, ids[count:])
            ready, paths, ids = ready[:count], paths[:count], ids[:count]
        hashes = context.store.images.content_hashes(ids)
        wanted = context.store.index_tasks.waiting_stages(ids, context.pixel_stages)
        keep = frozenset(
            place
            for place, image_id in enumerate(ids)
            if context.decoded.reserve(
                image_id, hashes[image_id], pixels.get(image_id, 0), wanted.get(image_id, ()), context.now
            )
        )
        sources = tuple((path, hashes[image_id]) for image_id, path in zip(ids, paths, strict=True))
        target = context.thumbnails
        call = MakeThumbnails(sources, target.folder, target.size_px, context.decoded.folder, keep)
        return TaskBatch(self.name, ready, call, paths)

    def store(self, batch: TaskBatch, result: Any, context: StageContext) -> Mapping[int, str]:
        made: ThumbnailsMade = result
        for place in made.pixel_bytes:
            context.decoded.mark_written(batch.image_ids[place])
        hashes = {
            image_id: made.perceptual_hashes[place]
            for place, image_id in enumerate(batch.image_ids)
            if place not in made.problems
        }
        if hashes:
            context.store.perceptual_hashes.put(self.name, hashes)
        texts = {batch.image_ids[place]: text for place, text in made.stealth_texts.items()}
        _store_stealth_metadata(context.store, texts)
        return made.problems


def _store_stealth_metadata(store: IndexStore, texts: Mapping[int, str]) -> None:
    """Store what these hidden texts (by image) state, for images whose files state nothing themselves."""
    if not texts:
        return
    rows, raws = store.images.rows(texts), store.images.raw_chunks_by_image(texts)
    stored = {
        image_id: StoredTexts(
            (*raws.get(image_id, ()), RawChunk(STEALTH_CHUNK_KEY, "utf-8", text)), (), (row.width, row.height)
        )
        for image_id, text in texts.items()
        if (row := rows.get(image_id)) is not None and row.is_ai is None
    }
    try:
        parsed = parse_stored_texts(list(stored.values()))
    except (WorkerDied, CallCancelled) as error:
        log.warning("the texts hidden in %d images cannot be read and are left out: %s", len(stored), error)
        return
    stated = {
        image_id: replace(metadata, raw=texts_of.chunks)
        for (image_id, texts_of), metadata in zip(stored.items(), parsed, strict=True)
        if metadata.is_ai is not None
    }
    if stated:
        store.images.update_metadata(stated, text_layers_by_input())
