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

from indexd.search.query.search_plan import VectorTerm
from indexd.search.ranking import layer_similarity
from indexd.search.ranking.calibration import Background, measure_background
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER

Floats = NDArray[np.float32]

BACKGROUND_SIZE = 1000
# 500 pictures tell a deviation to 3 %.
IMAGE_SAMPLE_SIZE = 500
IMAGE_SAMPLE_SEED = 1
# Below this a sample is the library itself and grows by the minute; it is cheap to read, so it is not kept.
MIN_CACHED_SIZE = 500
CACHE_SECONDS = 60.0

LayerRevision = tuple[str, int]
"""A layer and its model revision."""


@dataclass(frozen=True, slots=True)
class SampledImages:
    """The same pictures in every layer; `vectors`, each with the place of its id, are read when a layer is first asked for."""

    read_at: float
    ids: list[int]
    vectors: dict[LayerRevision, tuple[list[int], Floats]] = field(default_factory=dict)


class BackgroundSamples:
    """The samples of one index. Safe to use from several threads."""

    def __init__(self, store: IndexStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._layer_samples: dict[LayerRevision, tuple[float, Floats]] = {}
        self._sampled_images: SampledImages | None = None

    def background(self, term: VectorTerm) -> Background:
        """What cosines with the probe are like over its layer."""
        layer = self._layer_revision(term)
        kept = self._layer_samples.get(layer)
        now = self._clock()
        if kept is None or now - kept[0] > CACHE_SECONDS:
            kept = (now, self._store.vectors.sample(term.layer, BACKGROUND_SIZE))
            if len(kept[1]) >= MIN_CACHED_SIZE:
                self._layer_samples[layer] = kept
        return measure_background(kept[1], term.vector)

    def sampled_images(self) -> SampledImages:
        """The pictures that `cosines` tells of; what belongs together is asked of one such answer."""
        kept, now = self._sampled_images, self._clock()
        if kept is not None and now - kept.read_at <= CACHE_SECONDS:
            return kept
        count = self._store.images.count()
        ids = random.Random(IMAGE_SAMPLE_SEED).sample(range(1, count + 1), min(count, IMAGE_SAMPLE_SIZE))
        chosen = SampledImages(now, ids)
        self._sampled_images = chosen if count >= MIN_CACHED_SIZE else None
        return chosen

    def cosines(self, sampled: SampledImages, term: VectorTerm) -> NDArray[np.float64]:
        """The cosines of these pictures with the probe, in the order of their ids; NaN without a vector."""
        found = np.full(len(sampled.ids), np.nan)
        if term.layer == FACE_LAYER:
            scores = layer_similarity.exact_cosines(self._store, term.layer, term.vector, sampled.ids)
            return np.array([scores.get(image_id, np.nan) for image_id in sampled.ids])
        layer = self._layer_revision(term)
        if layer not in sampled.vectors:
            ids, vectors = self._store.vectors.get_many(term.layer, sampled.ids)
            place = {image_id: at for at, image_id in enumerate(sampled.ids)}
            sampled.vectors[layer] = [place[image_id] for image_id in ids], vectors
        places, vectors = sampled.vectors[layer]
        if places:
            found[places] = vectors @ term.vector
        return found

    def _layer_revision(self, term: VectorTerm) -> LayerRevision:
        revision = self._store.vectors.active_revision(term.layer)
        return term.layer, revision.id if revision else 0
