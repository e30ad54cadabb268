"""Groups images with near perceptual hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.duplicates.hash_similarity import MAX_LOW_BITS, HashArrays, are_near_duplicates
from indexd.duplicates.multi_index_hashing import candidate_pairs
from indexd.duplicates.star_groups import star_groups
from indexd.store.records import HashedImages

Ids = NDArray[np.int64]


def near_duplicate_groups(images: HashedImages) -> list[list[int]]:
    """Groups of at least two rows of `images` that are near duplicates."""
    if len(images.ids) < 2:
        return []
    # Images with equal hashes and recipes are one node: otherwise thousands of copies would give millions of pairs.
    combined = np.hstack([images.hashes, np.ascontiguousarray(images.recipes).view(np.uint8)])
    rows = np.ascontiguousarray(combined).view(np.dtype((np.void, combined.shape[1]))).ravel()
    _, first, node_of = np.unique(rows, return_index=True, return_inverse=True)
    nodes = HashedImages(images.ids[first], images.hashes[first], images.recipes[first])
    members = np.split(np.argsort(node_of, kind="stable"), np.cumsum(np.bincount(node_of))[:-1])
    groups = star_groups(len(first), *near_duplicate_pairs(HashArrays.from_rows(nodes)), nodes.recipes)
    joined = {node for group in groups for node in group}
    groups += [[node] for node in range(len(first)) if len(members[node]) > 1 and node not in joined]
    return [[int(row) for node in group for row in members[node]] for group in groups]


def near_duplicate_pairs(hashes: HashArrays) -> tuple[Ids, Ids]:
    """Every pair of near-duplicate rows, once: the lower rows and the higher rows."""
    count = len(hashes.one_counts)
    found = []
    for left, right in candidate_pairs(hashes.low_bits(), MAX_LOW_BITS):
        at = np.flatnonzero(are_near_duplicates(hashes, left, right))
        if len(at):
            low, high = np.minimum(left[at], right[at]), np.maximum(left[at], right[at])
            found.append(low * count + high)
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    return pairs // max(count, 1), pairs % max(count, 1)
