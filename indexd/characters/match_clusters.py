"""Maps the groups of a new clustering to known characters: characters keep their ids, and corrections stay in force.

The rules, in this order:
1. A confirmed face keeps its character. A face never gets a character that it was rejected from.
2. A curated character (named, merged, split or confirmed by the user: `kept`) loses no face to a clustering. The one
   exception is a face that was only assigned automatically, and whose group now belongs to another character. So merged
   characters stay merged when their faces form two groups, and split ones stay split when theirs form one.
3. A group belongs to the kept character that owns most of the group's kept faces, if these are enough. Its free faces
   follow. When several kept characters share a group, the face assigner assigns its free faces one by one.
4. Each other group belongs to the other character with the largest overlap, one to one. A group without such a character
   becomes a new one. A character whose faces all lie in groups of others keeps them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

NO_CHARACTER = 0
"""Character ids start at 1. New characters are -1, -2, ..."""
# At least this share of a group must belong to kept characters, so that a few stray faces do not decide.
MIN_KEPT_SHARE = 0.25
# At least this share of those faces must belong to one character; else the group is shared.
MIN_OWNER_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class KnownAssignments:
    """The known characters of n faces: `character` (n,), 0 for none; `confirmed` and `assigned` (n,) are its source.

    `rejected` are pairs (index of the face, character); `kept` are the curated characters.
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
    in_kept_group = np.isin(labels, sorted(shared.union(owner)))
    owner |= _match_one_to_one(labels, known.character, (known.character > 0) & ~kept & ~in_kept_group)
    new = (group for group in range(groups) if group not in owner and group not in shared)
    owner |= {group: -1 - position for position, group in enumerate(new)}
    # The additional last element is for label -1: faces without a group.
    target = np.array([owner.get(group, NO_CHARACTER) for group in range(groups)] + [NO_CHARACTER], np.int64)[labels]
    has_no_group = ~np.isin(known.character, list(owner.values()))
    stays = (
        known.confirmed
        | (kept & ~known.assigned)  # an automatic assignment is provisional until a group confirms it
        | (kept & (target == NO_CHARACTER))
        | ((known.character > 0) & in_kept_group & (has_no_group | (target == NO_CHARACTER)))
    )
    after = np.where(stays, known.character, target)
    for face, character in known.rejected:
        if after[face] == character and not known.confirmed[face]:
            after[face] = NO_CHARACTER
    return _renumber_new(after)


def _owners_by_kept_character(labels: Ids, character: Ids, kept: NDArray[np.bool_]) -> tuple[dict[int, int], set[int]]:
    """Group -> kept character that owns it, and the groups that several kept characters share."""
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
    """Match groups and characters one to one by their faces in `among`, largest overlap first; ties: lower ids."""
    pairs = sorted(
        (-count, one, group)
        for group, some in _count_overlaps(labels, character, among).items()
        for one, count in some.items()
    )
    owner: dict[int, int] = {}
    matched: set[int] = set()
    for _, one, group in pairs:
        if group not in owner and one not in matched:
            owner[group] = one
            matched.add(one)
    return owner


def _count_overlaps(labels: Ids, character: Ids, among: NDArray[np.bool_]) -> dict[int, dict[int, int]]:
    """Group -> character -> number of its faces in that group; counts only faces in `among`."""
    chosen = among & (labels >= 0)
    pairs, counts = np.unique(np.column_stack([labels[chosen], character[chosen]]), axis=0, return_counts=True)
    found: dict[int, dict[int, int]] = {}
    for (group, one), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(group, {})[one] = count
    return found


def _renumber_new(after: Ids) -> Ids:
    """Number new characters without gaps: -1, -2, ... New characters without faces disappear."""
    new = sorted({one for one in after.tolist() if one < 0}, reverse=True)
    number = {one: -1 - position for position, one in enumerate(new)}
    return np.array([number.get(one, one) for one in after.tolist()], np.int64)
