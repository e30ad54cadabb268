"""The nearest neighbours of every face, found by faiss: exactly where that is quick, through its lists where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats

# Exact search costs n * n; up to here it takes some seconds on one core.
MAX_EXACT_ROWS = 20_000
QUERY_BATCH = 4096
# Of about 4 * sqrt(n) lists, how many are looked into: 96 % of the neighbours are found, and the missed ones are far.
LISTS_PROBED = 24
# More rounds and more faces to find the lists' middles take six times as long and find no more neighbours.
KMEANS_ROUNDS, POINTS_PER_CENTROID = 3, 39


@dataclass(frozen=True, slots=True)
class NeighbourGraph:
    """`ids` int64 and `distances` float32, both (n, k): the k nearest others of each row, nearest first, Euclidean.

    -1 (and infinity) where fewer were found.
    """

    ids: NDArray[np.int64]
    distances: Floats


def nearest_neighbours(
    rows: Floats, k: int, report_progress: Callable[[str, int, int], None], queries: Floats | None = None
) -> NeighbourGraph:
    """The `k` nearest others of each row (n, dim); with `of`, the nearest rows of each of those instead."""
    import faiss

    count, dim = rows.shape
    index: Any = faiss.IndexFlatL2(dim)
    if count > MAX_EXACT_ROWS:
        lists = int(4 * np.sqrt(count))
        index = faiss.IndexIVFFlat(index, dim, lists)
        index.cp.seed = 1
        index.cp.niter = KMEANS_ROUNDS
        index.cp.max_points_per_centroid = POINTS_PER_CENTROID
        index.nprobe = LISTS_PROBED
        index.train(rows)
    index.add(rows)
    asking = rows if queries is None else queries
    ids = np.empty((len(asking), k), np.int64)
    distances = np.empty((len(asking), k), np.float32)
    for start in range(0, len(asking), QUERY_BATCH):
        some = slice(start, min(start + QUERY_BATCH, len(asking)))
        near, found = index.search(asking[some], k + (queries is None))
        if queries is None:
            near, found = _drop_self(near, found, np.arange(some.start, some.stop))
        ids[some], distances[some] = found, np.sqrt(np.maximum(near, 0.0))
        report_progress("looking for neighbours", some.stop, len(asking))
    distances[ids < 0] = np.inf
    return NeighbourGraph(ids, distances)


def _drop_self(near: Floats, found: NDArray[np.int64], own: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """The answers without the asking row, which is not always first: copies of a face lie at the same place."""
    itself = found == own[:, None]
    # Where more copies than were asked for lie there, it is not among them: then the last one goes.
    itself[~itself.any(axis=1), -1] = True
    shape = (len(found), found.shape[1] - 1)
    return near[~itself].reshape(shape), found[~itself].reshape(shape)
