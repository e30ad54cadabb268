"""HDBSCAN of face vectors, for sizes at which hdbscan's own neighbour search takes hours.

The vectors are centred and reduced to their 384 strongest axes. faiss finds the nearest neighbours, scipy computes the
minimum spanning tree of mutual reachability over that graph, and its components are joined. hdbscan's condensed tree then
selects the clusters (Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density estimates",
PAKDD 2013). `docs/characters.md` has the measurements and the rejected alternatives.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.knn_graph import NeighbourGraph, nearest_neighbours
from indexd.characters.clustering.minimum_spanning_tree import core_distances, minimum_spanning_edges
from indexd.characters.clustering.vector_file import Floats, iter_blocks

ClusteringProgressCallback = Callable[[str, int, int], None]
"""Receives (stage, done, total). An exception that it raises ends the clustering."""

MIN_CLUSTER_SIZE = 10
# hdbscan's default is min_samples = min_cluster_size. With more neighbours than a group has members, every core distance
# reaches into other groups.
MAX_MIN_SAMPLES = 10
GRAPH_NEIGHBOURS = 24
# Of 200 characters in 50 000 faces 64 axes tell 170 apart, 128 axes 195, 256 axes 199 (ARI .79, .94, .98); of 400 in
# 100 000 it takes 384 (.97 instead of .96).
REDUCED_DIM = 384
# A border face that hdbscan left out joins a group that contains at least MIN_VOTES of its ten nearest neighbours, if its
# core distance is little above that of the group's loosest members. On 20 000 faces the ARI rises from .984 to .997.
VOTING_NEIGHBOURS, MIN_VOTES = 10, 8
BORDER_SLACK = 1.1
# Not the maximum: a single outlier in a group would admit all others.
LOOSE_QUANTILE = 0.95
BORDER_ROUNDS = 3
MAX_CLUSTERED_FACES = 120_000
"""Of more faces a seeded sample of this size is clustered, and each other face joins the group of its neighbours."""
NO_CLUSTER = -1

Labels = NDArray[np.int64]


def cluster(
    rows: NDArray[np.floating],
    *,
    min_cluster_size: int = MIN_CLUSTER_SIZE,
    max_clustered: int = MAX_CLUSTERED_FACES,
    seed: int = 0,
    report_progress: ClusteringProgressCallback = lambda _stage, _done, _total: None,
) -> Labels:
    """The cluster of each unit vector (n, dim): numbered from 0, or NO_CLUSTER. `rows` may be a memory-mapped float16 file.

    The result is deterministic for the same rows in the same order.
    """
    count = len(rows)
    if count < 2 * min_cluster_size:
        return np.full(count, NO_CLUSTER, np.int64)
    low = reduce_dimensions(rows, REDUCED_DIM, seed, report_progress)
    if count <= max_clustered:
        return _cluster_reduced(low, min_cluster_size, report_progress)
    chosen = np.sort(np.random.default_rng(seed).choice(count, max_clustered, replace=False))
    labels = np.full(count, NO_CLUSTER, np.int64)
    labels[chosen] = _cluster_reduced(low[chosen], min_cluster_size, report_progress)
    return assign_unsampled(low, labels, chosen, report_progress)


def _cluster_reduced(low: Floats, min_cluster_size: int, report_progress: ClusteringProgressCallback) -> Labels:
    graph = nearest_neighbours(low, min(GRAPH_NEIGHBOURS, len(low) - 1), report_progress)
    core = core_distances(graph, min(MAX_MIN_SAMPLES, min_cluster_size))
    labels = _select_clusters(minimum_spanning_edges(low, graph, core, report_progress), min_cluster_size)
    report_progress("choosing groups", 1, 1)
    return _add_border_faces(labels, graph, core)


def _select_clusters(tree: NDArray[np.float64], min_cluster_size: int) -> Labels:
    """hdbscan's cluster selection (excess of mass) on a spanning tree."""
    from hdbscan._hdbscan_linkage import label
    from hdbscan._hdbscan_tree import compute_stability, condense_tree, get_clusters

    condensed = condense_tree(label(tree), min_cluster_size)
    labels, _, _ = get_clusters(condensed, compute_stability(condensed), "eom")
    return np.asarray(labels, np.int64)


def _add_border_faces(labels: Labels, graph: NeighbourGraph, core: Floats) -> Labels:
    count = int(labels.max(initial=NO_CLUSTER)) + 1
    if not count:
        return labels
    loosest = _loose_reach(labels, core, count)
    taken = labels.copy()
    for _ in range(BORDER_ROUNDS):
        outside = np.flatnonzero(taken < 0)
        group, agreed = _majority_vote(taken, graph.ids[outside, :VOTING_NEIGHBOURS])
        fits = (agreed >= MIN_VOTES) & (core[outside] <= BORDER_SLACK * loosest[group])
        if not fits.any():
            break
        taken[outside[fits]] = group[fits]
    return taken


def _loose_reach(labels: Labels, reach: Floats, count: int) -> Floats:
    """The LOOSE_QUANTILE of `reach` in each of the `count` groups."""
    order = np.lexsort((reach, labels))
    ends = np.searchsorted(labels[order], np.arange(count + 1))
    sizes = np.diff(ends)
    return np.asarray(reach[order[ends[:-1] + np.floor(LOOSE_QUANTILE * (sizes - 1)).astype(np.int64)]], np.float32)


def _majority_vote(labels: Labels, near: NDArray[np.int64]) -> tuple[Labels, NDArray[np.int64]]:
    """The most frequent group among the neighbours (m, k) of each face, and its count; group 0 with count 0 for none."""
    of = np.where(near >= 0, labels[near], NO_CLUSTER)
    group, agreed = np.zeros(len(near), np.int64), np.zeros(len(near), np.int64)
    for column in range(near.shape[1]):
        votes = ((of == of[:, column : column + 1]) & (of >= 0)).sum(axis=1)
        more = votes > agreed
        group[more], agreed[more] = of[more, column], votes[more]
    return group, agreed


def assign_unsampled(
    reduced_rows: Floats, labels: Labels, sampled: NDArray[np.int64], report_progress: ClusteringProgressCallback
) -> Labels:
    """Labels of the faces outside of the sample, by a majority vote of their nearest sampled neighbours.

    A face joins a group only if its neighbours are about as near as those of the group's sampled members.
    """
    others = np.setdiff1d(np.arange(len(reduced_rows)), sampled, assume_unique=True)
    graph = nearest_neighbours(reduced_rows[sampled], VOTING_NEIGHBOURS, report_progress)
    of_chosen = labels[sampled]
    count = int(of_chosen.max(initial=NO_CLUSTER)) + 1
    if not count:
        return labels
    farthest = _loose_reach(of_chosen, graph.distances[:, -1], count)
    found = nearest_neighbours(reduced_rows[sampled], VOTING_NEIGHBOURS, report_progress, queries=reduced_rows[others])
    group, agreed = _majority_vote(of_chosen, found.ids)
    fits = (agreed >= MIN_VOTES) & (found.distances[:, -1] <= BORDER_SLACK * farthest[group])
    completed = labels.copy()
    completed[others[fits]] = group[fits]
    return completed


# The axes of a sample of this size match those of all vectors, and bound the cost of the covariance.
SAMPLE_ROWS = 20_000


def reduce_dimensions(
    rows: NDArray[np.floating], dim: int, seed: int, report_progress: Callable[[str, int, int], None]
) -> Floats:
    """The centred rows (n, d) projected on their `dim` strongest axes, float32 (n, dim); only centred when d <= `dim`.

    The dropped weak axes of CLIP's space mostly hold the details of single images.
    """
    count, full = rows.shape
    mean, covariance = _mean_and_covariance(rows, seed, report_progress)
    axes = np.eye(full, dtype=np.float32)
    if full > dim:
        _, vectors = np.linalg.eigh(covariance)
        axes = vectors[:, : -dim - 1 : -1].astype(np.float32)
    low = np.empty((count, axes.shape[1]), np.float32)
    for where, block in iter_blocks(rows):
        low[where] = (block - mean) @ axes
        report_progress("reducing", where.stop, count)
    return low


def _mean_and_covariance(
    rows: NDArray[np.floating], seed: int, report_progress: Callable[[str, int, int], None]
) -> tuple[Floats, NDArray[np.float64]]:
    """The mean (d,) and covariance (d, d) of a sample."""
    count, full = rows.shape
    chosen = np.arange(count)
    if count > SAMPLE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(count, SAMPLE_ROWS, replace=False))
    total, products = np.zeros(full), np.zeros((full, full))
    for start in range(0, len(chosen), 4096):
        _, block = next(iter_blocks(rows[chosen[start : start + 4096]]))
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
        report_progress("computing the axes", min(start + 4096, len(chosen)), len(chosen))
    mean = total / len(chosen)
    return mean.astype(np.float32), products / len(chosen) - np.outer(mean, mean)
