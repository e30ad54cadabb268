"""What a person might want to put right: a character that is two, two characters that are one.

Both ask the same question of two heaps of faces: how far apart are they along the line between their middles, in units of
their own width (Ashman, Bird and Zepf, "Detecting bimodality in astronomical datasets", AJ 108, 1994). One round heap cut in
two by a plane has 2.65; heaps that do not touch have more than 4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.characters.references import halves, middle
from indexd.characters.vectors import Floats

TWO_APART = 4.0
AS_ONE = 2.65
SMALLEST_CORE = 10
# Characters whose middles are farther apart than this are not looked at as one.
NEAR_ENOUGH = 0.8


@dataclass(frozen=True, slots=True)
class Separation:
    """`apart`: the distance in widths; `side`: in which half each face lies."""

    apart: float
    side: NDArray[np.bool_]


def two_cores(rows: Floats) -> Separation | None:
    """The two dense cores of a character's faces (n, dim), or None when it has one."""
    if len(rows) < 2 * SMALLEST_CORE:
        return None
    side = halves(rows)
    if min(side.sum(), (~side).sum()) < SMALLEST_CORE:
        return None
    apart = separation(rows[~side], rows[side])
    return Separation(apart, side) if apart >= TWO_APART else None


def separation(one: Floats, other: Floats) -> float:
    """How far apart two heaps of unit vectors are, in widths along the line between their middles."""
    line = other.mean(axis=0) - one.mean(axis=0)
    length = float(np.linalg.norm(line))
    if length < 1e-6:
        return 0.0
    line /= length
    width = float(np.sqrt(((one @ line).var() + (other @ line).var()) / 2))
    return length / max(width, 1e-6)


def one_in_two(faces: Mapping[int, Floats], apart: Collection[tuple[int, int]] = ()) -> list[tuple[int, int, float]]:
    """Pairs of characters (lower id first) whose faces are one heap, with the cosine of their middles, the nearest first.

    `apart` are pairs, lower id first, of which a person said that they are two.
    """
    ids = sorted(one for one, rows in faces.items() if len(rows))
    if len(ids) < 2:
        return []
    middles = np.stack([middle(faces[one]) for one in ids])
    known = set(apart)
    found = []
    for place, one in enumerate(ids):
        near = middles[place + 1 :] @ middles[place]
        for further in np.flatnonzero(near >= NEAR_ENOUGH).tolist():
            other = ids[place + 1 + further]
            if (one, other) in known:
                continue
            if separation(faces[one], faces[other]) < AS_ONE:
                found.append((one, other, float(near[further])))
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))
