"""Suggests corrections: characters to split, and pairs of characters to merge.

Both use Ashman's D: the distance of two groups of faces along the line between their means, in units of their own width
(Ashman, Bird and Zepf, "Detecting bimodality in astronomical datasets", AJ 108, 1994). A single round group divided by a
plane has 2.65; groups that do not touch have more than 4. One half of the faces determines the line, and the other half
is measured along it: a few vectors of a thousand dimensions are always separated along some line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats
from indexd.characters.prototypes import centroid, two_means

MIN_SPLIT_SEPARATION = 4.0
MAX_MERGE_SEPARATION = 2.65
MIN_CORE_SIZE = 10
# Characters whose centroids have a lower cosine similarity are not compared.
MIN_MERGE_SIMILARITY = 0.8


@dataclass(frozen=True, slots=True)
class CoreSplit:
    """`separation`: the distance in widths; `in_second` (n,): whether each face belongs to the second core."""

    separation: float
    in_second: NDArray[np.bool_]


def find_two_cores(rows: Floats) -> CoreSplit | None:
    """The two dense cores of a character's faces (n, dim), or None when it has one."""
    if len(rows) < 2 * MIN_CORE_SIZE:
        return None
    in_second = two_means(rows)
    if min(in_second.sum(), (~in_second).sum()) < MIN_CORE_SIZE:
        return None
    separation = min(_holdout_separation(rows[first::2], rows[1 - first :: 2]) for first in (0, 1))
    return CoreSplit(separation, in_second) if separation >= MIN_SPLIT_SEPARATION else None


def group_separation(one: Floats, other: Floats) -> float:
    """The distance of two groups of unit vectors along the line between their means, in widths."""
    if min(len(one), len(other)) < 4:
        return 0.0
    return min(
        _separation_along(
            other[first::2].mean(axis=0) - one[first::2].mean(axis=0), one[1 - first :: 2], other[1 - first :: 2]
        )
        for first in (0, 1)
    )


def _holdout_separation(fitted: Floats, measured: Floats) -> float:
    """The separation of the faces `measured`, divided by the two clusters of the faces `fitted`."""
    in_second = two_means(fitted)
    if in_second.all() or not in_second.any():
        return 0.0
    one, other = centroid(fitted[~in_second]), centroid(fitted[in_second])
    nearer_second = measured @ other > measured @ one
    if min(nearer_second.sum(), (~nearer_second).sum()) < 2:
        return 0.0
    return _separation_along(other - one, measured[~nearer_second], measured[nearer_second])


def _separation_along(line: Floats, one: Floats, other: Floats) -> float:
    """The distance of the means of two groups along a line, in their own width; 0 when their order is reversed."""
    length = float(np.linalg.norm(line))
    if length < 1e-6:
        return 0.0
    first, second = one @ line / length, other @ line / length
    width = float(np.sqrt((first.var() + second.var()) / 2))
    return max(float(second.mean() - first.mean()), 0.0) / max(width, 1e-6)


def find_merge_candidates(
    faces: Mapping[int, Floats], kept_apart: Collection[tuple[int, int]] = ()
) -> list[tuple[int, int, float]]:
    """Pairs of characters (lower id first) whose faces form one group, with the cosine of their centroids, highest first.

    `kept_apart`: pairs (lower id first) that the user declared to be different.
    """
    ids = sorted(one for one, rows in faces.items() if len(rows))
    if len(ids) < 2:
        return []
    centroids = np.stack([centroid(faces[one]) for one in ids])
    excluded = set(kept_apart)
    found = []
    for position, one in enumerate(ids):
        similarity = centroids[position + 1 :] @ centroids[position]
        for offset in np.flatnonzero(similarity >= MIN_MERGE_SIMILARITY).tolist():
            other = ids[position + 1 + offset]
            if (one, other) in excluded:
                continue
            if group_separation(faces[one], faces[other]) < MAX_MERGE_SEPARATION:
                found.append((one, other, float(similarity[offset])))
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))
