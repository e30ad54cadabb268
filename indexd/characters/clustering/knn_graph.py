"""k-nearest-neighbour graph of faces (faiss): exact up to MAX_EXACT_ROWS, an inverted-file index above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats

# Exact search costs n * n; at this size it takes some seconds on one core.
MAX_EXACT_ROWS = 20_000
QUERY_BATCH = 4096
# Of about 4 * sqrt(n) lists, this many are searched. They contain 96 % of the neighbours; the missed ones are far.
LISTS_PROBED = 24
# More k-means rounds and training points take six times as long and find no more neighbours.
KMEANS_ROUNDS, POINTS_PER_CENTROID = 3, 39


@dataclass(frozen=True, slots=True)
class NeighbourGraph:
    """`ids` int64 and Euclidean `distances` float32, both (n, k): the k nearest other rows of each row, nearest first.

    Missing neighbours have id -1 and an infinite distance.
    """

    ids: NDArray[np.int64]
    distances: Floats


def nearest_neighbours(
    rows: Floats, k: int, report_progress: Callable[[str, int, int], None], queries: Floats | None = None
) -> NeighbourGraph:
    """The `k` nearest other rows of each row (n, dim); with `queries` (m, dim), the nearest rows of each query."""
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
    searched = rows if queries is None else queries
    ids = np.empty((len(searched), k), np.int64)
    distances = np.empty((len(searched), k), np.float32)
    for start in range(0, len(searched), QUERY_BATCH):
        batch = slice(start, min(start + QUERY_BATCH, len(searched)))
        squared, found = index.search(searched[batch], k + (queries is None))
        if queries is None:
            squared, found = _drop_self(squared, found, np.arange(batch.start, batch.stop))
        ids[batch], distances[batch] = found, np.sqrt(np.maximum(squared, 0.0))
        report_progress("finding neighbours", batch.stop, len(searched))
    distances[ids < 0] = np.inf
    return NeighbourGraph(ids, distances)


def _drop_self(squared: Floats, found: NDArray[np.int64], own: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """The results without the query row itself. It is not always first: copies of a face have the same distance 0."""
    is_self = found == own[:, None]
    # With more than k copies the row itself may be missing; then the last result is dropped.
    is_self[~is_self.any(axis=1), -1] = True
    shape = (len(found), found.shape[1] - 1)
    return squared[~is_self].reshape(shape), found[~is_self].reshape(shape)
