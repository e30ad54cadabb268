"""A batch: work items of one stage -> one call to a worker -> results in the index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexd.errors import IndexdError
from indexd.layers import faces, hidden, successors
from indexd.layers.description import LAYERS, SUCCESSION, THUMBNAIL
from indexd.layers.ledger import Ledger
from indexd.store.records import WorkItem
from indexd.worker.calls import (
    AnyCall,
    ComparePictures,
    Embedded,
    EmbedImages,
    EmbedText,
    FacesFound,
    FindFaces,
    MakeThumbnails,
    PicturesCompared,
    ThumbnailsMade,
)

NO_FILE_RETRY_SECONDS = 20.0
NO_FILE = "no file of this picture is present at the moment"


class WrongWidth(IndexdError):
    """The model that made vectors of one length gave some of another: nothing of the batch is stored."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that are in one call; row i of the result belongs to `items[i]`."""

    stage: str
    items: tuple[WorkItem, ...]
    call: AnyCall

    @property
    def ids(self) -> list[int]:
        """The pictures, in the order of the call."""
        return [item.image_id for item in self.items]

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
class Thumbnails:
    """Where thumbnails go and how large they are (longest side)."""

    folder: str
    size_px: int


def prepare(store: Ledger, stage: str, items: Sequence[WorkItem], thumbnails: Thumbnails, now: float) -> Batch | None:
    """The call for `items`; what has nothing to work on is settled here. None = nothing is left to call for."""
    ids = [item.image_id for item in items]
    if stage == SUCCESSION:
        pairs, comparing = successors.comparison(store, ids, thumbnails.folder, thumbnails.size_px)
        ready = tuple(item for item in items if item.image_id in pairs)
        store.work.done(stage, [image_id for image_id in ids if image_id not in pairs])
        return Batch(stage, ready, comparing) if ready else None
    layer = LAYERS.get(stage)
    if layer is not None and layer.of in ("prompt", "negative_prompt"):
        texts = store.images.prompts(ids, layer.of)
        ready = tuple(item for item in items if texts.get(item.image_id, "").strip())
        without = [item.image_id for item in items if item not in ready]
        if without:
            store.work.done(stage, without)
        call: AnyCall = EmbedText(layer.role, tuple(texts[item.image_id] for item in ready))
        return Batch(stage, ready, call) if ready else None
    paths = store.images.paths(ids)
    ready = tuple(item for item in items if item.image_id in paths)
    for image_id in ids:
        if image_id not in paths:
            store.work.away(stage, image_id, NO_FILE, retry_at=now + NO_FILE_RETRY_SECONDS)
    if not ready:
        return None
    if layer is not None and layer.of == "faces":
        return Batch(stage, ready, faces.finding(store, [item.image_id for item in ready], paths))
    if layer is not None:
        return Batch(stage, ready, EmbedImages(layer.role, tuple(paths[item.image_id] for item in ready)))
    hashes = store.images.hashes([item.image_id for item in ready])
    jobs = tuple((paths[item.image_id], hashes[item.image_id]) for item in ready)
    return Batch(stage, ready, MakeThumbnails(jobs, thumbnails.folder, thumbnails.size_px))


def settle(store: Ledger, batch: Batch, result: Any, now: float) -> None:
    """Put the result of a batch into the index.

    Pictures with a problem are set aside with its text, except where the file is gone: it may come back. Raises WrongWidth.
    """
    if isinstance(result, PicturesCompared) and isinstance(batch.call, ComparePictures):
        successors.settle(store, batch.call, result, now)
        return
    if isinstance(result, ThumbnailsMade):
        problems = dict(result.problems)
        made = {image_id: result.hashes[place] for place, image_id in enumerate(batch.ids) if place not in problems}
        if made:
            store.picture_hashes.put(THUMBNAIL, made)
        hidden.settle(store, {batch.ids[place]: text for place, text in result.hidden.items()})
    elif isinstance(result, Embedded):
        problems = dict(result.problems)
        _put(store, batch, result)
    elif isinstance(result, FacesFound):
        problems = dict(result.problems)
        faces.settle(store, batch.ids, result)
    else:
        raise TypeError(f"a {type(result).__name__} is no result of the stage {batch.stage}")
    for place, problem in problems.items():
        image_id, path = batch.ids[place], batch.path(place)
        if path is not None and not os.path.exists(path):
            store.work.away(batch.stage, image_id, NO_FILE, retry_at=now + NO_FILE_RETRY_SECONDS)
            continue
        if path is not None:
            store.images.set_decode_problem(image_id, problem)
        store.work.failed(batch.stage, image_id, problem, retry_at=None)


def _put(store: Ledger, batch: Batch, result: Embedded) -> None:
    layer = LAYERS[batch.stage]
    active = store.vectors.active(layer.name)
    if active is not None and active.identity == result.identity:
        if result.vectors.shape[1] != active.dim:
            raise WrongWidth(
                f"the model of {layer.name} gave vectors of {result.vectors.shape[1]} numbers; they had {active.dim}"
            )
        revision = active.id
    else:
        revision = store.vectors.activate(layer.name, result.identity, result.vectors.shape[1], layer.of)
    places = [place for place in range(len(batch.items)) if place not in result.problems]
    if places:
        ids = [batch.items[place].image_id for place in places]
        store.vectors.put(layer.name, revision, ids, np.ascontiguousarray(result.vectors[places]))
