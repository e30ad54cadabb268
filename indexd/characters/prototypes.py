"""Prototypes of a character: centroids of its groups of similar faces; more of them when its faces vary more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats, normalize_rows

MAX_PROTOTYPES = 4
# A group with at least this mean cosine similarity to its centroid is not divided further.
TIGHT_GROUP_SIMILARITY = 0.85
MIN_GROUP_SIZE = 5
TWO_MEANS_ROUNDS = 12


def compute_prototypes(rows: Floats, max_count: int = MAX_PROTOTYPES) -> Floats:
    """One to `max_count` unit vectors (k, dim) that represent these faces (n, dim), n at least 1.

    The loosest group is divided until each is tight or small, or `max_count` is reached. The result is deterministic.
    """
    groups = [np.arange(len(rows))]
    indivisible: set[int] = set()
    while len(groups) < max_count:
        divisible = [
            (mean_similarity(rows[group]), position)
            for position, group in enumerate(groups)
            if len(group) >= 2 * MIN_GROUP_SIZE and int(group[0]) not in indivisible
        ]
        if not divisible or min(divisible)[0] >= TIGHT_GROUP_SIMILARITY:
            break
        position = min(divisible)[1]
        in_second = two_means(rows[groups[position]])
        first, second = groups[position][~in_second], groups[position][in_second]
        if min(len(first), len(second)) < MIN_GROUP_SIZE:
            indivisible.add(int(groups[position][0]))
            continue
        groups[position : position + 1] = [first, second]
    return np.stack([centroid(rows[group]) for group in groups])


def centroid(rows: Floats) -> Floats:
    """The normalized mean of these rows (n, dim)."""
    return np.asarray(normalize_rows(rows.mean(axis=0)), np.float32)


def mean_similarity(rows: Floats) -> float:
    """The mean cosine similarity of the rows to their centroid."""
    return float((rows @ centroid(rows)).mean())


def two_means(rows: Floats) -> NDArray[np.bool_]:
    """Spherical 2-means: for each row (n, dim), whether it is in the second cluster (n,).

    The start is the row farthest from the centroid, and the row farthest from that one.
    """
    one = rows[int(np.argmin(rows @ centroid(rows)))]
    other = rows[int(np.argmin(rows @ one))]
    in_second = rows @ other > rows @ one
    for _ in range(TWO_MEANS_ROUNDS):
        if in_second.all() or not in_second.any():
            break
        updated = rows @ centroid(rows[in_second]) > rows @ centroid(rows[~in_second])
        if (updated == in_second).all():
            break
        in_second = updated
    return np.asarray(in_second, np.bool_)


def nearest_similarity(rows: Floats, prototypes: Floats) -> Floats:
    """The cosine similarity of each row (n, dim) to its nearest prototype (k, dim)."""
    return np.asarray((rows @ prototypes.T).max(axis=1), np.float32)
