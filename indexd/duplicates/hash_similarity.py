"""Decides whether pairs of perceptual hashes are near each other; vectorised, for millions of pairs in a second.

The limits were chosen by measurement: bench/perceptual_hash.py measures precision and recall, docs/duplicates.md has the
figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexd.images.perceptual_hash import LUMA_HASH_BYTES
from indexd.store.records import HashedImages

Ids = NDArray[np.int64]

Limits: TypeAlias = tuple[int, float, float]
"""Maximum number of differing bits among the 64 lowest frequencies, which are the keys of the hash index; maximum Dice
distance of all 256 bits (differing bits over the sum of set bits: a share and not a count, because images with little
detail have few set bits, and any two of them would be near); maximum mean difference of the colour cells, 0 to 255."""

PROPOSAL_LIMITS: tuple[tuple[int, Limits], ...] = (
    (10_000, (18, 0.45, 16.0)),
    (100_000, (15, 0.4, 14.0)),
    (2**63, (11, 0.3, 12.0)),
)
"""Pairs worth a comparison of their pixels, by the number of images. The first are wide enough for images that are
cropped by a tenth; the index over hashes needs seconds for a hundred thousand images with 15 bits."""
NEAR_LIMITS: Limits = (9, 0.2, 8.0)
"""Pairs that look alike to a person too: variations are listed within these."""


def proposal_limits(count: int) -> Limits:
    """The limits for a library of `count` images."""
    return next(limits for most, limits in PROPOSAL_LIMITS if count <= most)


@dataclass(frozen=True, slots=True)
class HashArrays:
    """Hashes as arrays; row i of each array is one image."""

    hash_words: NDArray[np.uint64]  # (n, 4), lowest frequencies first
    one_counts: NDArray[np.int64]  # (n,)
    colours: NDArray[np.int16]  # (n, 32)

    @classmethod
    def from_rows(cls, images: HashedImages) -> HashArrays:
        bits = np.ascontiguousarray(images.hashes[:, :LUMA_HASH_BYTES])
        words = bits.view(np.uint64)
        ones = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
        return cls(words, ones, images.hashes[:, LUMA_HASH_BYTES:].astype(np.int16))

    def low_bits(self) -> NDArray[np.uint8]:
        """The bits of the 64 lowest frequencies, uint8 (n, 64)."""
        return np.unpackbits(np.ascontiguousarray(self.hash_words[:, :1]).view(np.uint8), axis=1)


def bit_difference_shares(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.float64]:
    """The Dice distance of each pair: 0 for equal hashes, about 1 for unrelated images."""
    differing = np.bitwise_count(hashes.hash_words[left] ^ hashes.hash_words[right]).sum(axis=1, dtype=np.int64)
    total = hashes.one_counts[left] + hashes.one_counts[right]
    return np.asarray(differing / np.maximum(total, 1), np.float64)


def colour_differences(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.float64]:
    """The mean difference of the colour cells of each pair."""
    return np.asarray(np.abs(hashes.colours[left] - hashes.colours[right]).mean(axis=1), np.float64)


def are_near(hashes: HashArrays, left: Ids, right: Ids, limits: Limits = NEAR_LIMITS) -> NDArray[np.bool_]:
    """Whether the hashes of each pair differ by no more than the limits."""
    low_bits, bit_share, colour = limits
    near = np.bitwise_count(hashes.hash_words[left, 0] ^ hashes.hash_words[right, 0]) <= low_bits
    # Each test costs more than the one before it, so it runs only for the remaining pairs.
    for measure, limit in ((bit_difference_shares, bit_share), (colour_differences, colour)):
        at = np.flatnonzero(near)
        near[at] = measure(hashes, left[at], right[at]) <= limit
    return np.asarray(near, np.bool_)
