"""What a person might want to put right: a character that is two, two characters that are one.

Both ask the same question of two heaps of faces: how far apart are they along the line between their middles, in units of
their own width (Ashman, Bird and Zepf, "Detecting bimodality in astronomical datasets", AJ 108, 1994). One round heap cut in
two by a plane has 2.65; heaps that do not touch have more than 4. The line is drawn through one half of the faces and the width
taken of the other: among a few faces of a thousand numbers there is always a line along which they happen to lie apart.
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
# Characters whose middles are farther apart than this are not looked at as one.
MIN_MERGE_SIMILARITY = 0.8


@dataclass(frozen=True, slots=True)
class CoreSplit:
    """`apart`: the distance in widths; `side`: in which half each face lies."""

    separation: float
    in_second: NDArray[np.bool_]


def find_two_cores(rows: Floats) -> CoreSplit | None:
    """The two dense cores of a character's faces (n, dim), or None when it has one."""
    if len(rows) < 2 * MIN_CORE_SIZE:
        return None
    side = two_means(rows)
    if min(side.sum(), (~side).sum()) < MIN_CORE_SIZE:
        return None
    apart = min(_holdout_separation(rows[first::2], rows[1 - first :: 2]) for first in (0, 1))
    return CoreSplit(apart, side) if apart >= MIN_SPLIT_SEPARATION else None


def group_separation(one: Floats, other: Floats) -> float:
    """How far apart two heaps of unit vectors are, in widths along the line between their middles."""
    if min(len(one), len(other)) < 4:
        return 0.0
    return min(
        _separation_along(
            other[first::2].mean(axis=0) - one[first::2].mean(axis=0), one[1 - first :: 2], other[1 - first :: 2]
        )
        for first in (0, 1)
    )


def _holdout_separation(drawn: Floats, seen: Floats) -> float:
    """How far apart the faces `seen` are when they are cut as those `drawn` fall into two."""
    side = two_means(drawn)
    if side.all() or not side.any():
        return 0.0
    one, other = centroid(drawn[~side]), centroid(drawn[side])
    theirs = seen @ other > seen @ one
    if min(theirs.sum(), (~theirs).sum()) < 2:
        return 0.0
    return _separation_along(other - one, seen[~theirs], seen[theirs])


def _separation_along(line: Floats, one: Floats, other: Floats) -> float:
    """The distance of the means of two heaps along a line, in their own width; 0 where they lie the other way round."""
    length = float(np.linalg.norm(line))
    if length < 1e-6:
        return 0.0
    near, far = one @ line / length, other @ line / length
    width = float(np.sqrt((near.var() + far.var()) / 2))
    return max(float(far.mean() - near.mean()), 0.0) / max(width, 1e-6)


def find_merge_candidates(
    faces: Mapping[int, Floats], kept_apart: Collection[tuple[int, int]] = ()
) -> list[tuple[int, int, float]]:
    """Pairs of characters (lower id first) whose faces are one heap, with the cosine of their middles, the nearest first.

    `apart` are pairs, lower id first, of which a person said that they are two.
    """
    ids = sorted(one for one, rows in faces.items() if len(rows))
    if len(ids) < 2:
        return []
    middles = np.stack([centroid(faces[one]) for one in ids])
    known = set(kept_apart)
    found = []
    for place, one in enumerate(ids):
        near = middles[place + 1 :] @ middles[place]
        for further in np.flatnonzero(near >= MIN_MERGE_SIMILARITY).tolist():
            other = ids[place + 1 + further]
            if (one, other) in known:
                continue
            if group_separation(faces[one], faces[other]) < MAX_MERGE_SEPARATION:
                found.append((one, other, float(near[further])))
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))
