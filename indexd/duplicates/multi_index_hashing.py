"""Finds all pairs of near 64-bit codes with multi-index hashing, without comparing all pairs.

The bits are split into bands. Two codes that differ in at most r bits differ in at most r / bands bits in one band, so it
is enough to compare, for each band, the buckets whose keys are that near (Norouzi, Punjani and Fleet, "Fast search in
Hamming space with multi-index hashing", CVPR 2012). No pair within r is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

SLICE_PAIRS = 1 << 20
"""Maximum candidates of a slice: tens of megabytes, and tens of milliseconds to compare."""
# More codes than this overfill the buckets of four bands of 16 bits; three bands of 22 bits are faster then.
_THREE_BANDS_FROM = 400_000
# With more flips in a band, most codes share a bucket with most others.
_MAX_FLIPS = 3


def candidate_pairs(bits: NDArray[np.uint8], radius: int) -> Iterator[tuple[Ids, Ids]]:
    """Yield slices of pairs of rows of `bits` (n, 64), a superset of the pairs that differ in at most `radius` bits.

    A pair can occur once for each band, in either order.
    """
    count = 3 if len(bits) > _THREE_BANDS_FROM else 4
    if radius // count > _MAX_FLIPS:
        yield from _all_pairs(len(bits))
        return
    for band in range(count):
        # Every count-th bit, because neighbouring frequencies are correlated and would overfill a few buckets.
        band_bits = bits[:, band::count]
        keys = band_bits.astype(np.int64) @ (1 << np.arange(band_bits.shape[1], dtype=np.int64))
        yield from _band_pairs(keys, band_bits.shape[1], radius // count)


def _all_pairs(count: int) -> Iterator[tuple[Ids, Ids]]:
    rows = np.arange(count)
    first = 0
    while first < count - 1:
        last = min(count - 1, first + max(1, SLICE_PAIRS // (count - first)))
        yield from _expand_ranges(rows, rows[first:last], rows[first:last] + 1, np.full(last - first, count))
        first = last


def _band_pairs(keys: Ids, width: int, radius: int) -> Iterator[tuple[Ids, Ids]]:
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.searchsorted(keys, np.arange((1 << width) + 1)).astype(np.int64)
    positions = np.arange(len(keys))
    # Equal keys: each code with the later codes of its bucket.
    yield from _expand_ranges(order, positions, positions + 1, starts[keys + 1])
    for flips in range(1, radius + 1):
        for flipped in combinations(range(width), flips):
            mask = sum(1 << bit for bit in flipped)
            # Only the key of a pair that lacks the highest bit of the mask, so that each pair occurs once.
            lower = np.flatnonzero(keys & (1 << flipped[-1]) == 0)
            other = keys[lower] ^ mask
            yield from _expand_ranges(order, lower, starts[other], starts[other + 1])


def _expand_ranges(order: Ids, positions: Ids, first: Ids, last: Ids) -> Iterator[tuple[Ids, Ids]]:
    """Yield slices of pairs of rows: each of `positions` with all positions from `first` up to `last`."""
    sizes = last - first
    some = np.flatnonzero(sizes > 0)
    positions, first, sizes = positions[some], first[some], sizes[some]
    ends = np.cumsum(sizes)
    done = 0
    while done < len(sizes):
        before = int(ends[done - 1]) if done else 0
        end = max(done + 1, int(np.searchsorted(ends, before + SLICE_PAIRS, side="right")))
        taken = sizes[done:end]
        within = np.arange(int(taken.sum())) - np.repeat(ends[done:end] - taken - before, taken)
        yield order[np.repeat(positions[done:end], taken)], order[np.repeat(first[done:end], taken) + within]
        done = end
