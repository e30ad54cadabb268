"""Cosines of images with a vector in one layer. In the face layer, the nearest face of an image counts."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np
from numpy.typing import NDArray

from indexd.store.id_set import IdSet
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER

Vector = NDArray[np.float32]


def nearest_images(
    store: IndexStore,
    layer: str,
    vector: Vector,
    count: int,
    allowed_ids: IdSet | None,
    guaranteed_top_k: int | None = None,
) -> dict[int, float]:
    """The `count` images nearest to `vector` (dim,) with their cosines. `guaranteed_top_k`: see Vectors.nearest."""
    find = store.faces.nearest_images if layer == FACE_LAYER else partial(store.vectors.nearest, layer)
    return dict(find(vector, count, allowed_ids, guaranteed_top_k))


def farthest_images(
    store: IndexStore,
    layer: str,
    vector: Vector,
    count: int,
    allowed_ids: IdSet | None,
    guaranteed_top_k: int | None = None,
) -> dict[int, float]:
    """The `count` images farthest from `vector` (dim,) with their cosines."""
    negated = nearest_images(store, layer, -vector, count, allowed_ids, guaranteed_top_k)
    if layer == FACE_LAYER:
        # The search found them by their farthest face, but the score is that of the nearest.
        return store.faces.scores(vector, list(negated))
    return {image_id: -score for image_id, score in negated.items()}


def exact_cosines(store: IndexStore, layer: str, vector: Vector, images: Collection[int]) -> dict[int, float]:
    """The exact cosines of these images, without those that have no vector."""
    if layer == FACE_LAYER:
        return store.faces.scores(vector, images)
    return store.vectors.scores(layer, vector, images)
