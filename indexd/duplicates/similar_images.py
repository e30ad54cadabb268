"""Groups visually similar images by the cosine of their `clip_h` vectors.

The vectors are first reduced to their 64 principal components and the norm of the rest. A distance between reduced points
is at most the true distance, so no near pair is lost; near pairs are then scored exactly. Up to MAX_EXACT_IMAGES images
all pairs are compared. Above that, each point is compared with the points of its nearest cells (an inverted file: Sivic and
Zisserman, "Video Google", ICCV 2003), which can miss a few pairs; the tests and bench/ measure how many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from indexd.duplicates.star_groups import star_groups
from indexd.store.protocols import IndexStore

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]

LAYER = "clip_h"
PRINCIPAL_DIRECTIONS = 64
MAX_EXACT_IMAGES = 20_000
CELLS_PROBED = 6
BLOCK = 1024
SAMPLE_SIZE = 4096
SCORE_BATCH = 2048
# Vectors are stored in half precision, so a cosine has up to this error.
_COSINE_ROUNDING = 2e-3
_SEED = 1


def similar_image_groups(store: IndexStore, allowed_ids: Collection[int] | None, threshold: float) -> list[list[int]]:
    """Groups of image ids. The cosine of each with the first of its group is at least `threshold` (0.5 to 1)."""
    ids, points = _reduced_points(store, allowed_ids)
    if len(ids) < 2:
        return []
    found_left, found_right = [], []
    for left, right in _candidate_pairs(points, 2.0 - 2.0 * threshold + _COSINE_ROUNDING):
        for start in range(0, len(left), SCORE_BATCH):
            one, other = left[start : start + SCORE_BATCH], right[start : start + SCORE_BATCH]
            near = pair_cosines(store, ids[one], ids[other]) >= threshold
            found_left.append(one[near])
            found_right.append(other[near])
    if not found_left:
        return []
    pairs = np.unique(np.concatenate(found_left) * len(ids) + np.concatenate(found_right))
    return [[int(ids[row]) for row in group] for group in star_groups(len(ids), pairs // len(ids), pairs % len(ids))]


def pair_cosines(store: IndexStore, left: Ids, right: Ids) -> NDArray[np.float64]:
    """The exact cosine of each pair of images; NaN if one of them has no vector."""
    image_ids = np.unique(np.concatenate([left, right]))
    ids, vectors = _load_vectors(store, image_ids.tolist())
    if not len(ids):
        return np.full(len(left), np.nan)
    rows = [np.minimum(np.searchsorted(ids, one), len(ids) - 1) for one in (left, right)]
    scores = np.einsum("ij,ij->i", vectors[rows[0]], vectors[rows[1]]).astype(np.float64)
    scores[(ids[rows[0]] != left) | (ids[rows[1]] != right)] = np.nan
    return np.asarray(scores, np.float64)


def _load_vectors(store: IndexStore, ids: Collection[int]) -> tuple[Ids, Floats]:
    slices = list(store.bulk_reader.iter_vectors(LAYER, ids))
    if not slices:
        return np.empty(0, np.int64), np.empty((0, 0), np.float32)
    return np.concatenate([one for one, _ in slices]), np.concatenate([vectors for _, vectors in slices])


def _reduced_points(store: IndexStore, allowed_ids: Collection[int] | None) -> tuple[Ids, Floats]:
    """Ids of the images with a present file, and their reduced points: float32 (n, directions + 1)."""
    present = store.bulk_reader.present_image_ids()
    basis: Floats | None = None
    mean: Floats | None = None
    all_ids, all_points = [], []
    for ids, vectors in store.bulk_reader.iter_vectors(LAYER, allowed_ids):
        if basis is None or mean is None:
            mean, basis = _principal_directions(store.vectors.sample(LAYER, SAMPLE_SIZE))
        if vectors.shape[1] != len(mean):  # the model was replaced meanwhile
            return np.empty(0, np.int64), np.empty((0, 0), np.float32)
        is_present = np.isin(ids, present, assume_unique=True)
        centred = vectors[is_present] - mean
        along = centred @ basis
        rest = np.maximum(np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", along, along), 0)
        all_ids.append(ids[is_present])
        all_points.append(np.hstack([along, np.sqrt(rest)[:, None]]).astype(np.float32))
    if not all_ids:
        return np.empty(0, np.int64), np.empty((0, 0), np.float32)
    return np.concatenate(all_ids), np.concatenate(all_points)


def _principal_directions(sample: Floats) -> tuple[Floats, Floats]:
    """The mean (dim,) of a sample, and its principal components as columns: (dim, at most PRINCIPAL_DIRECTIONS)."""
    mean = sample.mean(axis=0)
    centred = sample - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :PRINCIPAL_DIRECTIONS])


def _candidate_pairs(points: Floats, limit: float) -> Iterator[tuple[Ids, Ids]]:
    """Yield pairs of rows, lower row first, with a squared distance of at most `limit`. A pair can occur more than once."""
    if len(points) <= MAX_EXACT_IMAGES:
        rows = np.arange(len(points))
        for start in range(0, len(points), BLOCK):
            yield from _pairs_within(points, rows[start : start + BLOCK], rows[start:], limit)
        return
    home, probed = _assign_cells(points)
    members = np.split(
        np.argsort(home, kind="stable"), np.cumsum(np.bincount(home, minlength=int(probed.max()) + 1))[:-1]
    )
    flat = np.argsort(probed.ravel(), kind="stable")
    probing_by_cell = np.split(
        flat // probed.shape[1], np.cumsum(np.bincount(probed.ravel(), minlength=len(members)))[:-1]
    )
    for residents, probing in zip(members, probing_by_cell, strict=True):
        for start in range(0, len(probing), BLOCK):
            yield from _pairs_within(points, probing[start : start + BLOCK], residents, limit)


def _pairs_within(points: Floats, rows: Ids, others: Ids, limit: float) -> Iterator[tuple[Ids, Ids]]:
    one, other = points[rows], points[others]
    squares = (one * one).sum(axis=1)[:, None] + (other * other).sum(axis=1)[None, :] - 2.0 * (one @ other.T)
    left, right = (axis.astype(np.int64) for axis in np.nonzero(squares <= limit))
    left, right = rows[left], others[right]
    different = left != right
    if different.any():
        left, right = left[different], right[different]
        yield np.minimum(left, right), np.maximum(left, right)


def _assign_cells(points: Floats) -> tuple[Ids, NDArray[np.int64]]:
    """The cell of each point, and the nearest cells, (n, CELLS_PROBED). The cells come from four rounds of k-means."""
    generator = np.random.default_rng(_SEED)
    count = int(2 * np.sqrt(len(points)))
    sample = points[np.sort(generator.choice(len(points), min(len(points), 16 * count), replace=False))]
    centroids = sample[generator.choice(len(sample), count, replace=False)]
    for _ in range(4):
        nearest = _nearest_centroids(sample, centroids, 1)[:, 0]
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, sample)
        sizes = np.bincount(nearest, minlength=count)
        filled = sizes > 0
        centroids[filled] = sums[filled] / sizes[filled][:, None]
    probed = _nearest_centroids(points, centroids, CELLS_PROBED)
    return probed[:, 0], probed


def _nearest_centroids(points: Floats, centroids: Floats, count: int) -> NDArray[np.int64]:
    """The `count` nearest centroids of each point, nearest first: int64 (n, count)."""
    found = []
    lengths = (centroids * centroids).sum(axis=1)
    for start in range(0, len(points), BLOCK):
        squares = lengths[None, :] - 2.0 * (points[start : start + BLOCK] @ centroids.T)
        few = np.argpartition(squares, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(squares, few, axis=1), axis=1)
        found.append(np.take_along_axis(few, order, axis=1))
    return np.concatenate(found).astype(np.int64)
