"""How near pictures are to a vector in one layer. In the layer of faces a picture is as near as its nearest face."""

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
    """The `count` pictures nearest to `vector` (dim,), with their cosines; see Vectors.nearest for `sure`."""
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
    """The `count` pictures farthest from `vector`, with their cosines."""
    away = nearest_images(store, layer, -vector, count, allowed_ids, guaranteed_top_k)
    if layer == FACE_LAYER:
        # They were found by their farthest face, and count by their nearest.
        return store.faces.scores(vector, list(away))
    return {image_id: -score for image_id, score in away.items()}


def exact_cosines(store: IndexStore, layer: str, vector: Vector, images: Collection[int]) -> dict[int, float]:
    """The exact cosines of these pictures; those without a vector are left out."""
    if layer == FACE_LAYER:
        return store.faces.scores(vector, images)
    return store.vectors.scores(layer, vector, images)
