"""Images with near perceptual hashes: the neighbours of each, and groups around centres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.duplicates.hash_similarity import HashArrays, Limits, are_near
from indexd.duplicates.multi_index_hashing import candidate_pairs
from indexd.duplicates.star_groups import star_groups
from indexd.store.records import HashedImages

Ids = NDArray[np.int64]


class HashNeighbours:
    """Which rows of `images` have hashes within the limits of each other.

    Images with equal hashes are one node: otherwise thousands of copies would give millions of pairs.
    """

    def __init__(self, images: HashedImages, limits: Limits) -> None:
        rows = np.ascontiguousarray(images.hashes).view(np.dtype((np.void, images.hashes.shape[1]))).ravel()
        _, first, self._node_of = np.unique(rows, return_index=True, return_inverse=True)
        self.node_count = len(first)
        sizes = np.bincount(self._node_of, minlength=self.node_count)
        self._members = np.split(np.argsort(self._node_of, kind="stable"), np.cumsum(sizes)[:-1])
        nodes = HashArrays.from_rows(HashedImages(images.ids[first], images.hashes[first]))
        self.left, self.right = near_hash_pairs(nodes, limits)
        ends = np.concatenate([self.left, self.right])
        order = np.argsort(ends, kind="stable")
        self._others = np.concatenate([self.right, self.left])[order]
        self._starts = np.searchsorted(ends[order], np.arange(self.node_count + 1))
        degrees = np.diff(self._starts)
        self.rows = np.flatnonzero((sizes > 1)[self._node_of] | (degrees > 0)[self._node_of])
        """The rows that have a neighbour."""

    def of(self, row: int) -> list[int]:
        """The neighbours of a row."""
        node = self._node_of[row]
        nodes = (node, *self._others[self._starts[node] : self._starts[node + 1]])
        return [int(one) for near in nodes for one in self._members[near] if one != row]

    def members(self, node: int) -> list[int]:
        """The rows with the hash of a node."""
        return [int(row) for row in self._members[node]]


def near_hash_groups(images: HashedImages, limits: Limits) -> list[list[int]]:
    """Groups of at least two rows of `images`: a centre, and the rows within the limits of it."""
    if len(images.ids) < 2:
        return []
    near = HashNeighbours(images, limits)
    groups = star_groups(near.node_count, near.left, near.right)
    joined = {node for group in groups for node in group}
    groups += [[node] for node in range(near.node_count) if node not in joined and len(near.members(node)) > 1]
    return [[row for node in group for row in near.members(node)] for group in groups]


def near_hash_pairs(hashes: HashArrays, limits: Limits) -> tuple[Ids, Ids]:
    """Every pair of rows within the limits, once: the lower rows and the higher rows."""
    count = len(hashes.one_counts)
    found = []
    for left, right in candidate_pairs(hashes.low_bits(), limits[0]):
        at = np.flatnonzero(are_near(hashes, left, right, limits))
        if len(at):
            low, high = np.minimum(left[at], right[at]), np.maximum(left[at], right[at])
            found.append(low * count + high)
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    return pairs // max(count, 1), pairs % max(count, 1)
