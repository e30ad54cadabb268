"""A new clustering laid over what is known, so that characters keep their ids and nothing a person said is undone.

The rules, in this order:
1. A confirmed face stays where it was confirmed; a face is never put to a character it was rejected from.
2. A character in which a person had a hand (named, merged, split, confirmed: `kept`) loses no face to a clustering, except
   one that was only assigned on arrival and that a group now shows to be another's. So a merge stays merged though its
   looks form two groups, and a split stays split though they form one.
3. A group goes to the kept character that most of its faces with a kept character have, if those are enough; its free faces
   follow. Where several kept characters share a group, its free faces are left to assignment, face by face.
4. The other groups go to the other characters with which they share most faces, one to one, the largest overlap first; a
   group without a partner is a new character. A character whose every face lies in groups of others keeps them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

NO_CHARACTER = 0
"""Stands for no character; ids start at 1. Characters that are to be made are -1, -2, ..."""
# A few strays in a group of new faces do not make it theirs: so large a share of it must be a kept character's.
MIN_KEPT_SHARE = 0.25
# And of those so many must be of one character, or the group is shared.
MIN_OWNER_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class KnownAssignments:
    """What is known of n faces. `character` (n,) is 0 for none, `confirmed` and `assigned` (n,) say how it came there.

    `rejected` are pairs (place of the face, character); `kept` the characters in which a person had a hand.
    """

    character: Ids
    confirmed: NDArray[np.bool_]
    assigned: NDArray[np.bool_]
    rejected: Collection[tuple[int, int]] = ()
    kept: Collection[int] = ()


def reconcile_clusters(labels: Ids, known: KnownAssignments) -> Ids:
    """The character of each face after a clustering with these labels (-1 = no group); -1, -2, ... are new ones."""
    groups = int(labels.max(initial=-1)) + 1
    kept = np.isin(known.character, sorted(known.kept)) | known.confirmed
    owner, shared = _owners_by_kept_character(labels, known.character, kept)
    beside = np.isin(labels, sorted(shared.union(owner)))
    owner |= _match_one_to_one(labels, known.character, (known.character > 0) & ~kept & ~beside)
    new = (group for group in range(groups) if group not in owner and group not in shared)
    owner |= {group: -1 - place for place, group in enumerate(new)}
    # One more at the end, for -1: faces in no group.
    target = np.array([owner.get(group, NO_CHARACTER) for group in range(groups)] + [NO_CHARACTER], np.int64)[labels]
    homeless = ~np.isin(known.character, list(owner.values()))
    stays = (
        known.confirmed
        | (kept & ~known.assigned)  # an assignment is a guess until a group bears it out
        | (kept & (target == NO_CHARACTER))
        | ((known.character > 0) & beside & (homeless | (target == NO_CHARACTER)))
    )
    after = np.where(stays, known.character, target)
    for place, character in known.rejected:
        if after[place] == character and not known.confirmed[place]:
            after[place] = NO_CHARACTER
    return _renumber_new(after)


def _owners_by_kept_character(labels: Ids, character: Ids, kept: NDArray[np.bool_]) -> tuple[dict[int, int], set[int]]:
    """Which group goes to which kept character, and the groups that several share."""
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    owner: dict[int, int] = {}
    shared: set[int] = set()
    for group, some in _count_overlaps(labels, character, kept).items():
        total = sum(some.values())
        if total < MIN_KEPT_SHARE * sizes[group]:
            continue
        best = min(some, key=lambda one: (-some[one], one))
        if some[best] >= MIN_OWNER_SHARE * total:
            owner[group] = best
        else:
            shared.add(group)
    return owner, shared


def _match_one_to_one(labels: Ids, character: Ids, among: NDArray[np.bool_]) -> dict[int, int]:
    """Groups and characters, as these faces have them, one to one, the largest overlap first; ties to the lower ids."""
    pairs = sorted(
        (-count, one, group)
        for group, some in _count_overlaps(labels, character, among).items()
        for one, count in some.items()
    )
    owner: dict[int, int] = {}
    given: set[int] = set()
    for _, one, group in pairs:
        if group not in owner and one not in given:
            owner[group] = one
            given.add(one)
    return owner


def _count_overlaps(labels: Ids, character: Ids, among: NDArray[np.bool_]) -> dict[int, dict[int, int]]:
    """Group -> character -> how many of its faces `among` these lie there."""
    chosen = among & (labels >= 0)
    pairs, counts = np.unique(np.column_stack([labels[chosen], character[chosen]]), axis=0, return_counts=True)
    found: dict[int, dict[int, int]] = {}
    for (group, one), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(group, {})[one] = count
    return found


def _renumber_new(after: Ids) -> Ids:
    """New characters to which no face came are numbered away, so that the others are -1, -2, ..."""
    fresh = sorted({one for one in after.tolist() if one < 0}, reverse=True)
    number = {one: -1 - place for place, one in enumerate(fresh)}
    return np.array([number.get(one, one) for one in after.tolist()], np.int64)
