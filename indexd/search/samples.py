"""Samples of the library that questions are measured against, kept for a minute: reading them takes longer than a question.

Two kinds: of each layer, spread over all its vectors (what a cosine is calibrated against), and of pictures, the same in
every layer (how far layers say the same thing).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexd.search import likeness
from indexd.search.calibrate import Background, background
from indexd.search.plan import Probe
from indexd.store.index import Store
from indexd.store.revisions import FACE

Floats = NDArray[np.float32]

BACKGROUND_SIZE = 1000
# 500 pictures tell a deviation to 3 %.
PICTURES = 500
PICTURES_SEED = 1
# Below this a sample is the library itself and grows by the minute; it is cheap to read, so it is not kept.
WORTH_KEEPING = 500
KEPT_SECONDS = 60.0

Layer = tuple[str, int]
"""A layer and its model revision."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The same pictures in every layer; `vectors`, each with the place of its id, are read when a layer is first asked for."""

    read_at: float
    ids: list[int]
    vectors: dict[Layer, tuple[list[int], Floats]] = field(default_factory=dict)


class Samples:
    """The samples of one index. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._layers: dict[Layer, tuple[float, Floats]] = {}
        self._pictures: Pictures | None = None

    def background(self, probe: Probe) -> Background:
        """What cosines with the probe are like over its layer."""
        layer = self._layer(probe)
        kept = self._layers.get(layer)
        now = self._clock()
        if kept is None or now - kept[0] > KEPT_SECONDS:
            kept = (now, self._store.vectors.sample(probe.layer, BACKGROUND_SIZE))
            if len(kept[1]) >= WORTH_KEEPING:
                self._layers[layer] = kept
        return background(kept[1], probe.vector)

    def pictures(self) -> Pictures:
        """The pictures that `cosines` tells of; what belongs together is asked of one such answer."""
        kept, now = self._pictures, self._clock()
        if kept is not None and now - kept.read_at <= KEPT_SECONDS:
            return kept
        count = self._store.images.count()
        ids = random.Random(PICTURES_SEED).sample(range(1, count + 1), min(count, PICTURES))
        chosen = Pictures(now, ids)
        self._pictures = chosen if count >= WORTH_KEEPING else None
        return chosen

    def cosines(self, pictures: Pictures, probe: Probe) -> NDArray[np.float64]:
        """The cosines of these pictures with the probe, in the order of their ids; NaN without a vector."""
        found = np.full(len(pictures.ids), np.nan)
        if probe.layer == FACE:
            scores = likeness.scores(self._store, probe.layer, probe.vector, pictures.ids)
            return np.array([scores.get(image_id, np.nan) for image_id in pictures.ids])
        layer = self._layer(probe)
        if layer not in pictures.vectors:
            ids, vectors = self._store.vectors.some(probe.layer, pictures.ids)
            place = {image_id: at for at, image_id in enumerate(pictures.ids)}
            pictures.vectors[layer] = [place[image_id] for image_id in ids], vectors
        places, vectors = pictures.vectors[layer]
        if places:
            found[places] = vectors @ probe.vector
        return found

    def _layer(self, probe: Probe) -> Layer:
        revision = self._store.vectors.active(probe.layer)
        return probe.layer, revision.id if revision else 0
