"""The same picture in other bytes: groups of near picture hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.duplicates.hash_similarity import MAX_LOW_BITS, HashArrays, are_near_duplicates
from indexd.duplicates.multi_index_hashing import candidate_pairs
from indexd.duplicates.star_groups import star_groups
from indexd.store.records import HashedImages

Ids = NDArray[np.int64]


def near_duplicate_groups(pictures: HashedImages) -> list[list[int]]:
    """Groups of rows of `pictures` that show the same picture, at least two each."""
    if len(pictures.ids) < 2:
        return []
    # Equal hashes with equal recipes are one node: thousands of copies of one picture are then no pairs at all.
    whole = np.hstack([pictures.hashes, np.ascontiguousarray(pictures.recipes).view(np.uint8)])
    rows = np.ascontiguousarray(whole).view(np.dtype((np.void, whole.shape[1]))).ravel()
    _, first, node_of = np.unique(rows, return_index=True, return_inverse=True)
    nodes = HashedImages(pictures.ids[first], pictures.hashes[first], pictures.recipes[first])
    members = np.split(np.argsort(node_of, kind="stable"), np.cumsum(np.bincount(node_of))[:-1])
    groups = star_groups(len(first), *near_duplicate_pairs(HashArrays.from_rows(nodes)), nodes.recipes)
    joined = {node for group in groups for node in group}
    groups += [[node] for node in range(len(first)) if len(members[node]) > 1 and node not in joined]
    return [[int(row) for node in group for row in members[node]] for group in groups]


def near_duplicate_pairs(hashes: HashArrays) -> tuple[Ids, Ids]:
    """Every pair of near rows, once: the lower rows and the higher ones."""
    count = len(hashes.one_counts)
    found = []
    for left, right in candidate_pairs(hashes.low_bits(), MAX_LOW_BITS):
        at = np.flatnonzero(are_near_duplicates(hashes, left, right))
        if len(at):
            low, high = np.minimum(left[at], right[at]), np.maximum(left[at], right[at])
            found.append(low * count + high)
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    return pairs // max(count, 1), pairs % max(count, 1)
