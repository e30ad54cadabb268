"""All pairs of near 64-bit codes without comparing all pairs: multi-index hashing.

The 64 bits are cut into a few bands. Where two codes differ in at most r bits, they differ in at most r / bands of them in
some band, so it is enough to look, band by band, into the buckets whose keys are that near (Norouzi, Punjani and Fleet,
"Fast search in Hamming space with multi-index hashing", CVPR 2012). No pair within r is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

SLICE_PAIRS = 1 << 20
"""Candidates judged at a time: some tens of MB, and some tens of milliseconds."""
# Four bands of 16 bits while a bucket holds a few codes, three of 22 where four would hold too many.
_THREE_BANDS_FROM = 400_000


def candidate_pairs(bits: NDArray[np.uint8], radius: int) -> Iterator[tuple[Ids, Ids]]:
    """Pairs of rows of `bits` (n, 64) that may differ in at most `radius` bits, in slices; each that does is among them.

    A pair may come once for each band, and its order says nothing.
    """
    count = 3 if len(bits) > _THREE_BANDS_FROM else 4
    for band in range(count):
        # Every count-th bit: neighbouring frequencies are alike, and a band of them would have crowded buckets.
        mine = bits[:, band::count]
        keys = mine.astype(np.int64) @ (1 << np.arange(mine.shape[1], dtype=np.int64))
        yield from _band_pairs(keys, mine.shape[1], radius // count)


def _band_pairs(keys: Ids, width: int, radius: int) -> Iterator[tuple[Ids, Ids]]:
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.searchsorted(keys, np.arange((1 << width) + 1)).astype(np.int64)
    places = np.arange(len(keys))
    # Equal keys: each code with those behind it in its bucket.
    yield from _expand_ranges(order, places, places + 1, starts[keys + 1])
    for flips in range(1, radius + 1):
        for flipped in combinations(range(width), flips):
            mask = sum(1 << bit for bit in flipped)
            # Of the two keys of a pair, the one without the mask's highest bit: so that each pair comes once.
            lower = np.flatnonzero(keys & (1 << flipped[-1]) == 0)
            other = keys[lower] ^ mask
            yield from _expand_ranges(order, lower, starts[other], starts[other + 1])


def _expand_ranges(order: Ids, places: Ids, first: Ids, last: Ids) -> Iterator[tuple[Ids, Ids]]:
    """Each of `places` with every place from `first` up to `last`, as row numbers, in slices."""
    sizes = last - first
    some = np.flatnonzero(sizes > 0)
    places, first, sizes = places[some], first[some], sizes[some]
    ends = np.cumsum(sizes)
    done = 0
    while done < len(sizes):
        before = int(ends[done - 1]) if done else 0
        upto = max(done + 1, int(np.searchsorted(ends, before + SLICE_PAIRS, side="right")))
        taken = sizes[done:upto]
        within = np.arange(int(taken.sum())) - np.repeat(ends[done:upto] - taken - before, taken)
        yield order[np.repeat(places[done:upto], taken)], order[np.repeat(first[done:upto], taken) + within]
        done = upto
