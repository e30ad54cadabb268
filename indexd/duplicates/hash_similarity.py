"""Decides whether pairs of perceptual hashes are near duplicates; vectorised, for millions of pairs in a second.

The limits were chosen by measurement: bench/perceptual_hash.py measures precision and recall, docs/duplicates.md has the
figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.images.perceptual_hash import LUMA_HASH_BYTES
from indexd.store.records import NOT_STATED, HashedImages

Ids = NDArray[np.int64]

MAX_LOW_BITS = 9
"""Maximum number of differing bits among the 64 lowest frequencies, which are the keys of the hash index."""
MAX_BIT_SHARE = 0.2
"""Maximum Dice distance of all 256 bits: differing bits over the sum of set bits. A share and not a count, because images
with little detail have few set bits, and any two of them would be near duplicates."""
MAX_COLOUR_DIFFERENCE = 8.0
"""Maximum mean difference of the colour cells, in levels of 0 to 255."""


@dataclass(frozen=True, slots=True)
class HashArrays:
    """Hashes as arrays; row i of each array is one image."""

    hash_words: NDArray[np.uint64]  # (n, 4), lowest frequencies first
    one_counts: NDArray[np.int64]  # (n,)
    colours: NDArray[np.int16]  # (n, 32)
    recipes: NDArray[np.int64]  # (n, 3)

    @classmethod
    def from_rows(cls, images: HashedImages) -> HashArrays:
        bits = np.ascontiguousarray(images.hashes[:, :LUMA_HASH_BYTES])
        words = bits.view(np.uint64)
        ones = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
        return cls(words, ones, images.hashes[:, LUMA_HASH_BYTES:].astype(np.int16), images.recipes)

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


def are_near_duplicates(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    """Whether the two images of each pair are near duplicates with compatible recipes."""
    near = np.bitwise_count(hashes.hash_words[left, 0] ^ hashes.hash_words[right, 0]) <= MAX_LOW_BITS
    # Each test costs more than the one before it, so it runs only for the remaining pairs.
    for passes in (_bit_share_passes, _colours_pass, _recipes_agree):
        at = np.flatnonzero(near)
        near[at] = passes(hashes, left[at], right[at])
    return np.asarray(near, np.bool_)


def recipes_contradict(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether recipes (…, 3) have different values of seed, steps or cfg where both state one."""
    stated = (one != NOT_STATED) & (other != NOT_STATED)
    return np.asarray((stated & (one != other)).any(axis=-1), np.bool_)


def _bit_share_passes(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    return bit_difference_shares(hashes, left, right) <= MAX_BIT_SHARE


def _colours_pass(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    return colour_differences(hashes, left, right) <= MAX_COLOUR_DIFFERENCE


def _recipes_agree(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    return ~recipes_contradict(hashes.recipes[left], hashes.recipes[right])
