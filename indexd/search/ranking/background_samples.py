"""Samples of the library for the calibration of searches, cached for a minute because reading them takes longer than a search.

There are two kinds: a sample of the vectors of each layer, to calibrate cosines, and a sample of images, the same in every
layer, to measure the correlation of layers.
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
# 500 images give a standard deviation with an error of 3 %.
IMAGE_SAMPLE_SIZE = 500
IMAGE_SAMPLE_SEED = 1
# A smaller sample is the whole library, which may grow quickly. It is cheap to read, so it is not cached.
MIN_CACHED_SIZE = 500
CACHE_SECONDS = 60.0

LayerRevision = tuple[str, int]
"""A layer and the id of its model revision."""


@dataclass(frozen=True, slots=True)
class SampledImages:
    """A sample of image ids. `vectors` caches for each layer the rows that have a vector, and the vectors."""

    read_at: float
    ids: list[int]
    vectors: dict[LayerRevision, tuple[list[int], Floats]] = field(default_factory=dict)


class BackgroundSamples:
    """The samples of one index. Thread-safe."""

    def __init__(self, store: IndexStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._layer_samples: dict[LayerRevision, tuple[float, Floats]] = {}
        self._sampled_images: SampledImages | None = None

    def background(self, term: VectorTerm) -> Background:
        """The background of a term in its layer."""
        layer = self._layer_revision(term)
        cached = self._layer_samples.get(layer)
        now = self._clock()
        if cached is None or now - cached[0] > CACHE_SECONDS:
            cached = (now, self._store.vectors.sample(term.layer, BACKGROUND_SIZE))
            if len(cached[1]) >= MIN_CACHED_SIZE:
                self._layer_samples[layer] = cached
        return measure_background(cached[1], term.vector)

    def sampled_images(self) -> SampledImages:
        """The image sample. Cosines that are compared with each other must come from one sample."""
        cached, now = self._sampled_images, self._clock()
        if cached is not None and now - cached.read_at <= CACHE_SECONDS:
            return cached
        count = self._store.images.count()
        ids = random.Random(IMAGE_SAMPLE_SEED).sample(range(1, count + 1), min(count, IMAGE_SAMPLE_SIZE))
        sampled = SampledImages(now, ids)
        self._sampled_images = sampled if count >= MIN_CACHED_SIZE else None
        return sampled

    def cosines(self, sampled: SampledImages, term: VectorTerm) -> NDArray[np.float64]:
        """The cosines of the sampled images with a term, in the order of the ids; NaN without a vector."""
        cosines = np.full(len(sampled.ids), np.nan)
        if term.layer == FACE_LAYER:
            scores = layer_similarity.exact_cosines(self._store, term.layer, term.vector, sampled.ids)
            return np.array([scores.get(image_id, np.nan) for image_id in sampled.ids])
        layer = self._layer_revision(term)
        if layer not in sampled.vectors:
            ids, vectors = self._store.vectors.get_many(term.layer, sampled.ids)
            row_of = {image_id: row for row, image_id in enumerate(sampled.ids)}
            sampled.vectors[layer] = [row_of[image_id] for image_id in ids], vectors
        rows, vectors = sampled.vectors[layer]
        if rows:
            cosines[rows] = vectors @ term.vector
        return cosines

    def _layer_revision(self, term: VectorTerm) -> LayerRevision:
        revision = self._store.vectors.active_revision(term.layer)
        return term.layer, revision.id if revision else 0
