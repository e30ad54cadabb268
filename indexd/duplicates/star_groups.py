"""From pairs to groups: every member belongs to the group's middle, and nothing is chained along.

Joining whatever hangs together would make one giant group of a library: a is like b, b is like c, and a has nothing to do
with c. So a group is one picture with those that are like *it*; the picture with most likenesses chooses first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.duplicates.hash_similarity import recipes_contradict
from indexd.store.records import NOT_STATED

Ids = NDArray[np.int64]


def star_groups(count: int, left: Ids, right: Ids, recipes: NDArray[np.int64] | None = None) -> list[list[int]]:
    """Groups of at least two of `count` pictures, given the pairs that are alike (each once); the middle comes first.

    `recipes`, int64 (count, 3): members whose recipes contradict what the group states already stay out of it.
    """
    ends = np.concatenate([left, right])
    order = np.argsort(ends, kind="stable")
    others = np.concatenate([right, left])[order]
    degrees = np.bincount(ends, minlength=count)
    starts = np.concatenate([[0], np.cumsum(degrees)])
    taken = np.zeros(count, np.bool_)
    groups = []
    for middle in np.argsort(-degrees, kind="stable").tolist():
        if degrees[middle] == 0:
            break
        if taken[middle]:
            continue
        near = others[starts[middle] : starts[middle + 1]]
        near = np.sort(near[~taken[near]])
        members = near.tolist() if recipes is None else _compatible_members(recipes, middle, near)
        if members:
            group = [middle, *members]
            taken[group] = True
            groups.append(group)
    return groups


def _compatible_members(recipes: NDArray[np.int64], middle: int, near: Ids) -> list[int]:
    stated = recipes[middle].copy()
    if (stated != NOT_STATED).all():
        # The middle states everything, and was compared with each of them.
        return [int(one) for one in near[~recipes_contradict(recipes[near], stated)]]
    members = []
    for one in near.tolist():
        if not recipes_contradict(recipes[one], stated):
            members.append(one)
            stated = np.where(stated == NOT_STATED, recipes[one], stated)
    return members
