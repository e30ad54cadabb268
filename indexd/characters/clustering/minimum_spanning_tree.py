"""Minimum spanning tree of mutual reachability distances over a neighbour graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree  # type: ignore[import-untyped]

from indexd.characters.clustering.knn_graph import NeighbourGraph
from indexd.characters.clustering.vector_file import Floats

# This many of the densest faces of a component are candidates for the edge to another component.
REPRESENTATIVES = 16
# scipy treats a weight of 0 as no edge, and copies of a face have a distance of 0.
MIN_EDGE_WEIGHT = 1e-7


def core_distances(graph: NeighbourGraph, min_samples: int) -> Floats:
    """The distance (n,) of each face to its `min_samples`-th nearest one, the face itself included."""
    column = min(min_samples - 1, graph.distances.shape[1]) - 1
    core = graph.distances[:, max(column, 0)].copy()
    unfound = ~np.isfinite(core)
    if unfound.any():
        core[unfound] = np.max(graph.distances[np.isfinite(graph.distances)], initial=MIN_EDGE_WEIGHT)
    return core


def minimum_spanning_edges(
    rows: Floats, graph: NeighbourGraph, core: Floats, report_progress: Callable[[str, int, int], None]
) -> NDArray[np.float64]:
    """The n - 1 edges (from, to, mutual reachability) of the tree, by ascending weight."""
    count = len(rows)
    froms, tos, weights = _reachability_edges(graph, core)
    while True:
        tree = minimum_spanning_tree(coo_matrix((weights, (froms, tos)), (count, count)).tocsr()).tocoo()
        parts, part_of = connected_components(tree, directed=False)
        report_progress("building the tree", count - parts, count - 1)
        froms, tos, weights = tree.row.astype(np.int64), tree.col.astype(np.int64), tree.data
        if parts == 1:
            break
        more = _connecting_edges(rows, core, part_of, parts)
        froms, tos = np.concatenate([froms, more[0]]), np.concatenate([tos, more[1]])
        weights = np.concatenate([weights, more[2]])
    order = np.lexsort((tos, froms, weights))
    return np.column_stack([froms[order], tos[order], weights[order]]).astype(np.float64)


def _reachability_edges(graph: NeighbourGraph, core: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    count, k = graph.ids.shape
    froms, tos, weights = np.repeat(np.arange(count), k), graph.ids.ravel(), graph.distances.ravel()
    there = tos >= 0
    froms, tos, weights = froms[there], tos[there], weights[there]
    low, high = np.minimum(froms, tos), np.maximum(froms, tos)
    # Each pair once: most neighbours are mutual, and the sparse matrix adds up the weights of duplicates.
    _, first = np.unique(low * count + high, return_index=True)
    low, high, weights = low[first], high[first], weights[first]
    return low, high, np.maximum(np.maximum(weights, MIN_EDGE_WEIGHT), np.maximum(core[low], core[high]))


def _connecting_edges(
    rows: Floats, core: Floats, part_of: NDArray[np.int32], parts: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """An edge from each component to the nearest other one, between their densest faces.

    Each round at least halves the number of components (Boruvka), so the loop terminates.
    """
    import faiss

    order = np.lexsort((core, part_of))
    starts = np.searchsorted(part_of[order], np.arange(parts + 1))
    rank = np.arange(len(order)) - starts[part_of[order]]
    speakers = order[rank < REPRESENTATIVES]
    theirs = part_of[speakers]
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows[speakers])
    near, found = index.search(rows[speakers], min(REPRESENTATIVES + 1, len(speakers)))
    found = np.maximum(found, 0)
    reach = np.maximum(np.sqrt(np.maximum(near, 0.0)), np.maximum(core[speakers][:, None], core[speakers][found]))
    reach[theirs[found] == theirs[:, None]] = np.inf
    best = reach.argmin(axis=1)
    weight = reach[np.arange(len(best)), best]
    first = np.lexsort((np.arange(len(best)), weight, theirs))
    chosen = first[np.unique(theirs[first], return_index=True)[1]]
    low = np.minimum(speakers[chosen], speakers[found[chosen, best[chosen]]])
    high = np.maximum(speakers[chosen], speakers[found[chosen, best[chosen]]])
    _, once = np.unique(low * len(rows) + high, return_index=True)
    return low[once], high[once], np.maximum(weight[chosen][once], MIN_EDGE_WEIGHT).astype(np.float32)
