"""The coarse codes of one layer in memory, all looked at for every question: the nearest of all, or of some.

First the leading signs of all by rough estimates, then all the signs of those that may be among the best by fine ones.
Measured at a million codes of 1024 bits, without AVX-512: faiss counts the differences of 512 signs in 3.5 ms on one thread,
of all 1024 in 11 ms (numpy's `bitwise_count` 49 and 69). A faiss index would be as fast, but takes a copy to grow and moves all that
follows to delete; its RaBitQ index with tables in registers (IndexRaBitQFastScan) takes 6.4 ms for 512 signs, 10.4 for 1024.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from indexd.search.pages import Pages
from indexd.search.parallel import spread
from indexd.store.coarse import LENGTH_BYTES, Codes, Floats, split
from indexd.store.code_index import Candidates, Ids, Wanted
from indexd.store.code_scan import FINE_PIECE, Near, best, finely
from indexd.store.estimate import Aim

Rows = NDArray[np.int32]
Words = NDArray[np.uint64]
Row = TypeVar("Row", bound=np.generic)
Number = TypeVar("Number", np.int32, np.int64)

# Capacity grows by this many rows, and nothing is copied for it: 128 MB for codes of 1024 bits, taken from the system
# only as they fill.
BLOCK = 1 << 20
# From so many rows on, 4 MB of leading words, the first block comes in large pages.
LARGE_FROM = 1 << 16
# Rows are gathered into a buffer of this many, 1 MB of leading words.
GATHER = 1 << 14
# Where this share of all rows or more is in question, all are scanned and the others passed over.
MOST_SHARE = 0.2
# The leading words, 512 signs.
LEAD_WORDS = 8
# A part of so many rows, scanned or looked at finely, is worth a thread of its own.
ROWS_A_THREAD = 1 << 17
FINE_ROWS_A_THREAD = 1 << 12
MOST_THREADS = 4
# What is looked at before the threads begin, so that each of them knows what is near.
BEGINNING = 1 << 15
OPTIMISTIC_TRIES = 3


class CodeMatrix:
    """Rows of codes by image id. Readers take no lock; any number of threads may read beside writers.

    A reader may meet a code that is just being replaced; it is then a slightly better or worse candidate, nothing else.
    Rows that change places would be worse (a candidate lost), so that is counted, and the reader looks again.
    """

    def __init__(self, code_bytes: int) -> None:
        self._sign_bytes = code_bytes - LENGTH_BYTES
        # Whole words are gathered twice as fast as bytes; what is padded is equal everywhere and adds no distance.
        self._words = -(-self._sign_bytes // 8)
        self._writing = threading.Lock()
        # Blocks of leading words, of the others where there are any, and of lengths.
        self._leads: list[Words] = []
        self._rests: list[Words] | None = [] if self._words > LEAD_WORDS else None
        self._lengths: list[Floats] = []
        self._small: list[Pages] = []
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._rows: Rows = np.empty(0, dtype=np.int32)
        self._count = 0
        self._moves = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The memory in use, up to the last row that is filled."""
        return self._count * (8 * self._words + LENGTH_BYTES + 8) + self._rows.nbytes

    def put(self, ids: Ids, codes: Codes, *, replace: bool = True) -> None:
        """Add rows (codes (n, code_bytes), each id once), and replace those of known ids unless told not to."""
        with self._writing:
            rows = self._rows_of(ids)
            new = rows < 0
            count = self._count + int(np.count_nonzero(new))
            self._reserve(count, int(ids.max(initial=0)))
            rows[new] = np.arange(self._count, count)
            if not replace:
                ids, codes, rows = ids[new], codes[new], rows[new]
            signs, lengths = split(codes)
            self._write(rows, self._padded(signs), lengths)
            self._ids[rows] = ids
            self._rows[ids] = rows
            self._count = count

    def remove(self, ids: Ids) -> None:
        """Take rows out; the last ones move into their places. Unknown ids are ignored."""
        with self._writing:
            rows = np.sort(self._rows_of(ids))
            rows = rows[rows >= 0]
            if not len(rows):
                return
            self._moves += 1
            self._rows[self._ids[rows]] = -1
            end = self._count - len(rows)
            holes = rows[rows < end]
            tail = np.setdiff1d(np.arange(end, self._count), rows)
            self._write(holes, self._signs(tail), _taken(self._lengths, tail))
            moved = self._ids[tail]
            self._ids[holes] = moved
            self._rows[moved] = holes
            self._count = end
            self._moves += 1

    def nearest(self, aim: Aim, wanted: Wanted, among: Ids | None) -> Candidates:
        """The rows nearest to the question, nearest first; `among` (sorted ids) None = of all."""
        for _ in range(OPTIMISTIC_TRIES):
            moves = self._moves
            found = self._nearest(aim, wanted, among)
            if moves == self._moves and moves % 2 == 0:
                return found
        with self._writing:
            return self._nearest(aim, wanted, among)

    def _nearest(self, aim: Aim, wanted: Wanted, among: Ids | None) -> Candidates:
        known = self._count
        if among is None:
            if known <= wanted.all_up_to:
                return Candidates(self._ids[:known].copy())
            near = self._near(aim, wanted, known, None)
        else:
            rows = self._rows_of(among)
            # Below `known`: what a writer adds meanwhile comes another time.
            rows = rows[(rows >= 0) & (rows < known)]
            if len(rows) <= wanted.all_up_to:
                return Candidates(self._ids[rows])
            if len(rows) >= MOST_SHARE * known:
                there = np.zeros(known, dtype=bool)
                there[rows] = True
                near = self._near(aim, wanted, known, there)
            else:
                # In the order of the memory: ids are mostly in it already.
                rows.sort()
                near = self._near_among(aim, wanted, rows)
        return self._finely(aim, np.sort(near.best().rows), wanted.count)

    def _near(self, aim: Aim, wanted: Wanted, known: int, there: NDArray[np.bool_] | None) -> Near:
        """The nearest of all rows below `known` (or of those that are `there`) by their leading signs."""

        def look(near: Near, first: int, end: int) -> Near:
            while first < end:
                number, place = divmod(first, BLOCK)
                here = slice(place, min(BLOCK, place + end - first))
                signs, lengths = self._leads[number][here].view(np.uint8), self._lengths[number][here]
                near.offer(signs, lengths, first, None if there is None else there[first : first + len(signs)])
                first += len(signs)
            return near

        near = look(self._nothing_yet(aim, wanted), 0, min(BEGINNING, known))
        parts = _parts(min(BEGINNING, known), known, ROWS_A_THREAD)
        nears = [near, *(near.begun() for _ in parts[1:])]
        spread(_threads(), [partial(look, one, *part) for one, part in zip(nears, parts, strict=True)])
        for other in nears[1:]:
            near.join(other)
        return near

    def _near_among(self, aim: Aim, wanted: Wanted, rows: Rows) -> Near:
        """The nearest of these rows, sorted ones, by their leading signs."""
        near = self._nothing_yet(aim, wanted)
        buffer = np.empty((GATHER, min(self._words, LEAD_WORDS)), dtype=np.uint64)
        for start in range(0, len(rows), GATHER):
            piece = rows[start : start + GATHER]
            leads = _taken(self._leads, piece, buffer[: len(piece)]).view(np.uint8)
            near.offer(leads, _taken(self._lengths, piece), piece.astype(np.int64))
        return near

    def _nothing_yet(self, aim: Aim, wanted: Wanted) -> Near:
        return Near(aim, 8 * min(self._words, LEAD_WORDS), wanted)

    def _finely(self, aim: Aim, rows: NDArray[np.int64], count: int) -> Candidates:
        """The `count` nearest of these rows, sorted ones, by all their signs."""
        lengths = _taken(self._lengths, rows)
        estimates = np.empty(len(rows), dtype=np.float32)

        def look(first: int, end: int) -> None:
            for start in range(first, end, FINE_PIECE):
                piece = slice(start, min(start + FINE_PIECE, end))
                estimates[piece] = finely(aim, self._signs(rows[piece]).view(np.uint8), lengths[piece])

        spread(_threads(), [partial(look, *part) for part in _parts(0, len(rows), FINE_ROWS_A_THREAD)])
        # Looked up after the scan: the array of ids may have grown, and rows with it.
        return best(self._ids[rows], estimates, lengths, aim, count)

    def _rows_of(self, ids: Ids) -> Rows:
        """The row of each id, int32; -1 where there is none."""
        row_of = self._rows
        rows = np.full(len(ids), -1, dtype=np.int32)
        inside = (ids >= 0) & (ids < len(row_of))
        rows[inside] = row_of[ids[inside]]
        return rows

    def _signs(self, rows: Rows | NDArray[np.int64]) -> Words:
        """All the signs of these sorted rows."""
        leads = _taken(self._leads, rows)
        return leads if self._rests is None else np.concatenate([leads, _taken(self._rests, rows)], axis=1)

    def _write(self, rows: Rows, signs: Words, lengths: Floats) -> None:
        numbers = rows // BLOCK
        for number in np.unique(numbers):
            here = numbers == number
            places = rows[here] - number * BLOCK
            self._leads[number][places] = signs[here, :LEAD_WORDS]
            self._lengths[number][places] = lengths[here]
            if self._rests is not None:
                self._rests[number][places] = signs[here, LEAD_WORDS:]

    def _reserve(self, count: int, highest_id: int) -> None:
        while len(self._leads) * BLOCK < count:
            self._add_block()
        if count >= LARGE_FROM:
            for pages in self._small:
                pages.enlarge()
            self._small.clear()
        if len(self._ids) < count:
            self._ids = _grown(self._ids, count)
        if len(self._rows) <= highest_id:
            self._rows = _grown(self._rows, highest_id + 1)

    def _add_block(self) -> None:
        large = bool(self._leads)
        # All of it or nothing: there may be no memory for one of them.
        rest = [] if self._rests is None else [Pages((BLOCK, self._words - LEAD_WORDS), np.uint64, large=large)]
        length = Pages((BLOCK,), np.float32, large=large)
        lead = Pages((BLOCK, min(self._words, LEAD_WORDS)), np.uint64, large=large)
        if self._rests is not None:
            self._rests += [pages.array for pages in rest]
        self._lengths.append(length.array)
        self._leads.append(lead.array)
        if not large:
            self._small += [*rest, length, lead]

    def _padded(self, signs: Codes) -> Words:
        if self._sign_bytes % 8:
            signs = np.pad(signs, ((0, 0), (0, 8 * self._words - self._sign_bytes)))
        return np.ascontiguousarray(signs).view(np.uint64)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Those that scan beside the one that asks."""
    return ThreadPoolExecutor(MOST_THREADS - 1, thread_name_prefix="scan")


def _parts(first: int, end: int, least: int) -> list[tuple[int, int]]:
    """The numbers from `first` to `end` in as many successive parts as there are threads for, none shorter than `least`."""
    count = max(1, min((end - first) // least, MOST_THREADS, os.cpu_count() or 1))
    borders = [first + (end - first) * number // count for number in range(count + 1)]
    return list(itertools.pairwise(borders))


def _taken(
    blocks: Sequence[NDArray[Row]], rows: Rows | NDArray[np.int64], out: NDArray[Row] | None = None
) -> NDArray[Row]:
    """These sorted rows of the blocks, in `out` when it is given."""
    if out is None:
        out = np.empty((len(rows), *blocks[0].shape[1:]), dtype=blocks[0].dtype)
    start = 0
    while start < len(rows):
        number = int(rows[start]) // BLOCK
        end = int(np.searchsorted(rows, (number + 1) * BLOCK))
        # "clip" only because the default checks every index first.
        np.take(blocks[number], rows[start:end] - number * BLOCK, axis=0, out=out[start:end], mode="clip")
        start = end
    return out


def _grown(values: NDArray[Number], least: int) -> NDArray[Number]:
    """The values in an array with room for `least` and a quarter more, the rest -1."""
    grown = np.full(least + max(least // 4, 1024), -1, dtype=values.dtype)
    grown[: len(values)] = values
    return grown
