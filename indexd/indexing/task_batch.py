"""A batch: work items of one stage -> one call to a worker -> results in the index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexd.errors import IndexdError
from indexd.indexing import stage_faces, stage_replacement, stage_thumbnail
from indexd.indexing.stages import LAYERS, REPLACEMENT, THUMBNAIL
from indexd.store.protocols import IndexStorage
from indexd.store.records import IndexTask
from indexd.worker.calls import (
    AnyCall,
    CompareImages,
    Embedded,
    EmbedImages,
    EmbedText,
    FacesFound,
    FindFaces,
    ImagesCompared,
    MakeThumbnails,
    ThumbnailsMade,
)

NO_FILE_RETRY_SECONDS = 20.0
NO_FILE_REASON = "no file of this picture is present at the moment"


class DimensionMismatch(IndexdError):
    """The model that made vectors of one length gave some of another: nothing of the batch is stored."""


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Items that are in one call; row i of the result belongs to `items[i]`."""

    stage: str
    tasks: tuple[IndexTask, ...]
    call: AnyCall

    @property
    def image_ids(self) -> list[int]:
        """The pictures, in the order of the call."""
        return [item.image_id for item in self.tasks]

    def path(self, place: int) -> bytes | None:
        """The file that was opened for the item at `place`; None where texts were embedded."""
        match self.call:
            case MakeThumbnails(jobs):
                return jobs[place][0]
            case EmbedImages(_, paths) | FindFaces(paths):
                return paths[place]
            case _:
                return None


@dataclass(frozen=True, slots=True)
class ThumbnailTarget:
    """Where thumbnails go and how large they are (longest side)."""

    folder: str
    size_px: int


def build_batch(
    store: IndexStorage, stage: str, tasks: Sequence[IndexTask], thumbnails: ThumbnailTarget, now: float
) -> TaskBatch | None:
    """The call for `items`; what has nothing to work on is settled here. None = nothing is left to call for."""
    ids = [item.image_id for item in tasks]
    if stage == REPLACEMENT:
        pairs, comparing = stage_replacement.build_call(store, ids, thumbnails.folder, thumbnails.size_px)
        ready = tuple(item for item in tasks if item.image_id in pairs)
        store.index_tasks.mark_done(stage, [image_id for image_id in ids if image_id not in pairs])
        return TaskBatch(stage, ready, comparing) if ready else None
    layer = LAYERS.get(stage)
    if layer is not None and layer.stage_input in ("prompt", "negative_prompt"):
        texts = store.images.prompts(ids, layer.stage_input)
        ready = tuple(item for item in tasks if texts.get(item.image_id, "").strip())
        without = [item.image_id for item in tasks if item not in ready]
        if without:
            store.index_tasks.mark_done(stage, without)
        call: AnyCall = EmbedText(layer.role, tuple(texts[item.image_id] for item in ready))
        return TaskBatch(stage, ready, call) if ready else None
    paths = store.images.paths(ids)
    ready = tuple(item for item in tasks if item.image_id in paths)
    for image_id in ids:
        if image_id not in paths:
            store.index_tasks.mark_blocked(stage, image_id, NO_FILE_REASON, retry_at=now + NO_FILE_RETRY_SECONDS)
    if not ready:
        return None
    if layer is not None and layer.stage_input == "faces":
        return TaskBatch(stage, ready, stage_faces.build_call(store, [item.image_id for item in ready], paths))
    if layer is not None:
        return TaskBatch(stage, ready, EmbedImages(layer.role, tuple(paths[item.image_id] for item in ready)))
    hashes = store.images.content_hashes([item.image_id for item in ready])
    jobs = tuple((paths[item.image_id], hashes[item.image_id]) for item in ready)
    return TaskBatch(stage, ready, MakeThumbnails(jobs, thumbnails.folder, thumbnails.size_px))


def store_result(store: IndexStorage, batch: TaskBatch, result: Any, now: float) -> None:
    """Put the result of a batch into the index.

    Pictures with a problem are set aside with its text, except where the file is gone: it may come back. Raises WrongWidth.
    """
    if isinstance(result, ImagesCompared) and isinstance(batch.call, CompareImages):
        stage_replacement.store_result(store, batch.call, result, now)
        return
    if isinstance(result, ThumbnailsMade):
        problems = dict(result.problems)
        made = {
            image_id: result.perceptual_hashes[place]
            for place, image_id in enumerate(batch.image_ids)
            if place not in problems
        }
        if made:
            store.perceptual_hashes.put(THUMBNAIL, made)
        stage_thumbnail.store_stealth_metadata(
            store, {batch.image_ids[place]: text for place, text in result.stealth_texts.items()}
        )
    elif isinstance(result, Embedded):
        problems = dict(result.problems)
        _store_vectors(store, batch, result)
    elif isinstance(result, FacesFound):
        problems = dict(result.problems)
        stage_faces.store_result(store, batch.image_ids, result)
    else:
        raise TypeError(f"a {type(result).__name__} is no result of the stage {batch.stage}")
    for place, problem in problems.items():
        image_id, path = batch.image_ids[place], batch.path(place)
        if path is not None and not os.path.exists(path):
            store.index_tasks.mark_blocked(batch.stage, image_id, NO_FILE_REASON, retry_at=now + NO_FILE_RETRY_SECONDS)
            continue
        if path is not None:
            store.images.set_decode_problem(image_id, problem)
        store.index_tasks.mark_failed(batch.stage, image_id, problem, retry_at=None)


def _store_vectors(store: IndexStorage, batch: TaskBatch, result: Embedded) -> None:
    layer = LAYERS[batch.stage]
    active = store.vectors.active_revision(layer.name)
    if active is not None and active.identity == result.identity:
        if result.vectors.shape[1] != active.dim:
            raise DimensionMismatch(
                f"the model of {layer.name} gave vectors of {result.vectors.shape[1]} numbers; they had {active.dim}"
            )
        revision = active.id
    else:
        revision = store.vectors.activate(layer.name, result.identity, result.vectors.shape[1], layer.stage_input)
    places = [place for place in range(len(batch.tasks)) if place not in result.problems]
    if places:
        ids = [batch.tasks[place].image_id for place in places]
        store.vectors.put(layer.name, revision, ids, np.ascontiguousarray(result.vectors[places]))
