"""When two picture hashes say "the same picture". Over arrays, so that millions of pairs are judged in a second.

The limits were chosen by measurement; bench/perceptual_hash.py prints what they catch and what they let through, and
docs/duplicates.md keeps the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.images.perceptual_hash import LUMA_HASH_BYTES
from indexd.store.records import NOT_STATED, HashedImages

Ids = NDArray[np.int64]

MAX_LOW_BITS = 9
"""Bits that may differ among the lowest 64, which hardly change: the index is built over them."""
MAX_BIT_SHARE = 0.2
"""Bits that may differ among all 256, as a share of the ones on both sides (the Dice distance). A share, because a plain
picture has few ones: by a plain count, any two plain pictures would be the same."""
MAX_COLOUR_DIFFERENCE = 8.0
"""Mean difference of the colour cells, in levels of 0 to 255."""


@dataclass(frozen=True, slots=True)
class HashArrays:
    """Hashes made ready for comparing; row i of each array is one picture."""

    hash_words: NDArray[np.uint64]  # (n, 4), lowest frequencies first
    one_counts: NDArray[np.int64]  # (n,)
    colours: NDArray[np.int16]  # (n, 32)
    recipes: NDArray[np.int64]  # (n, 3)

    @classmethod
    def from_rows(cls, pictures: HashedImages) -> HashArrays:
        """Made from rows of the index."""
        bits = np.ascontiguousarray(pictures.hashes[:, :LUMA_HASH_BYTES])
        words = bits.view(np.uint64)
        ones = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
        return cls(words, ones, pictures.hashes[:, LUMA_HASH_BYTES:].astype(np.int16), pictures.recipes)

    def low_bits(self) -> NDArray[np.uint8]:
        """The lowest 64 bits one by one, uint8 (n, 64)."""
        return np.unpackbits(np.ascontiguousarray(self.hash_words[:, :1]).view(np.uint8), axis=1)


def bit_difference_shares(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.float64]:
    """Of each pair, the share of bits that differ: 0 for equal hashes, about 1 for pictures with nothing in common."""
    differing = np.bitwise_count(hashes.hash_words[left] ^ hashes.hash_words[right]).sum(axis=1, dtype=np.int64)
    together = hashes.one_counts[left] + hashes.one_counts[right]
    return np.asarray(differing / np.maximum(together, 1), np.float64)


def colour_differences(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.float64]:
    """Of each pair, the mean difference of the colour cells."""
    return np.asarray(np.abs(hashes.colours[left] - hashes.colours[right]).mean(axis=1), np.float64)


def are_near_duplicates(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    """Whether each pair is the same picture: alike, and not made by recipes that contradict each other."""
    near = np.bitwise_count(hashes.hash_words[left, 0] ^ hashes.hash_words[right, 0]) <= MAX_LOW_BITS
    # Each test costs more than the one before it and is made only where that one was passed.
    for passes in (_bit_share_passes, _colours_pass, _recipes_agree):
        at = np.flatnonzero(near)
        near[at] = passes(hashes, left[at], right[at])
    return np.asarray(near, np.bool_)


def recipes_contradict(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether recipes (…, 3) that both state seed, steps or cfg state it differently."""
    stated = (one != NOT_STATED) & (other != NOT_STATED)
    return np.asarray((stated & (one != other)).any(axis=-1), np.bool_)


def _bit_share_passes(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    return bit_difference_shares(hashes, left, right) <= MAX_BIT_SHARE


def _colours_pass(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    return colour_differences(hashes, left, right) <= MAX_COLOUR_DIFFERENCE


def _recipes_agree(hashes: HashArrays, left: Ids, right: Ids) -> NDArray[np.bool_]:
    return ~recipes_contradict(hashes.recipes[left], hashes.recipes[right])
