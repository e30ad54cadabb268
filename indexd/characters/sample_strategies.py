"""Strategies that choose a sample of faces: random, most diverse, best, most typical."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats
from indexd.characters.prototypes import centroid

SampleStrategy = Literal["random", "diverse", "best", "typical"]


def choose_sample(
    strategy: SampleStrategy, count: int, rows: Floats, quality: NDArray[np.floating], seed: int = 0
) -> NDArray[np.int64]:
    """The indices of at most `count` of these faces (n, dim) without repetition, in the order of choice.

    random: from `seed`. diverse: the most typical one, then repeatedly the one farthest from all chosen ones.
    best: highest `quality` (n,). typical: nearest to the centroid of all.
    """
    indices = np.arange(len(rows))
    if not len(rows) or count < 1:
        return indices[:0]
    if strategy == "random":
        return np.random.default_rng(seed).permutation(len(rows))[:count].astype(np.int64)
    if strategy == "best":
        return np.lexsort((indices, -np.asarray(quality, np.float64)))[:count].astype(np.int64)
    similarity = rows @ centroid(rows)
    if strategy == "typical":
        return np.lexsort((indices, -similarity))[:count].astype(np.int64)
    return _farthest_point_sample(rows, int(similarity.argmax()), min(count, len(rows)))


def _farthest_point_sample(rows: Floats, first: int, count: int) -> NDArray[np.int64]:
    chosen = [first]
    closest = rows @ rows[first]
    closest[first] = np.inf
    while len(chosen) < count:
        following = int(closest.argmin())
        chosen.append(following)
        closest = np.maximum(closest, rows @ rows[following])
        closest[following] = np.inf
    return np.array(chosen, np.int64)
