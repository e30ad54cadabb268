"""The coarse codes of one layer in memory, scanned whole: the nearest by Hamming distance, among all or among some.

Scanned with faiss's popcount kernel over arrays of our own: first the leading bits of all, then all the bits of those that
are nearest by them. Measured at a million codes of 1024 bits on one thread, without AVX-512: all bits of all 13 ms (numpy's
`bitwise_count` 69), the leading half alone 3.4 ms for 1000 and 5.7 ms for 20 000, for which faiss has code of its own. A faiss index would be as fast, but takes a copy to grow, moves all that
follows to delete, and its own selection of half the rows takes twice as long as gathering them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from indexd.store.code_index import Candidates
from indexd.store.code_scan import nearest_rows

Codes = NDArray[np.uint8]
Ids = NDArray[np.int64]
Words = NDArray[np.uint64]
Number = TypeVar("Number", np.int32, np.int64)

# Capacity grows by this many rows, and nothing is copied for it: 128 MB for codes of 1024 bits, taken from the system
# only as they fill. Each block is scanned for as many as are wanted of all, so there should be few.
BLOCK = 1 << 20
# Rows are gathered into a buffer of this many, 4 MB of leading words.
GATHER = 1 << 16
# Where this share of all rows or more is in question, all are scanned for so many more that enough of them are: for half
# of a million on one thread 14 ms, where gathering them takes twice as long.
MOST_SHARE = 0.4
SPARE = 1.1
# The leading words (512 bits), and so many times as many rows are taken by them as are wanted. Measured at a million
# cone-shaped vectors, wanted 4000: the true best 20 of a picture are all among them either way, of a text .953 and .954.
LEAD_WORDS = 8
LEAD_SPARE = 4
OPTIMISTIC_TRIES = 3


class CodeMatrix:
    """Rows of packed bits by image id. Readers take no lock; any number of threads may read beside writers.

    A reader may meet a code that is just being replaced; it is then a slightly better or worse candidate, nothing else.
    Rows that change places would be worse (a candidate lost), so that is counted, and the reader looks again.
    """

    def __init__(self, code_bytes: int) -> None:
        self._code_bytes = code_bytes
        # Whole words are gathered twice as fast as bytes; what is padded is equal everywhere and adds no distance.
        self._words = -(-code_bytes // 8)
        self._writing = threading.Lock()
        # Blocks of leading words, and of the others where there are any.
        self._leads: list[Words] = []
        self._rests: list[Words] | None = [] if self._words > LEAD_WORDS else None
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._rows: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._count = 0
        self._moves = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The memory in use, up to the last row that is filled."""
        return self._count * (8 * self._words + 8) + self._rows.nbytes

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
            self._write(rows, self._padded(codes))
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
            self._write(holes, self._gathered(tail))
            moved = self._ids[tail]
            self._ids[holes] = moved
            self._rows[moved] = holes
            self._count = end
            self._moves += 1

    def nearest(self, code: Codes, count: int, among: Ids | None, all_up_to: int = 0) -> Candidates:
        """The `count` rows nearest to `code` (code_bytes,), nearest first; `among` (sorted ids) None = of all.

        All of those in question are given when they are no more than `all_up_to`.
        """
        for _ in range(OPTIMISTIC_TRIES):
            moves = self._moves
            found = self._nearest(code, count, among, all_up_to)
            if moves == self._moves and moves % 2 == 0:
                return found
        with self._writing:
            return self._nearest(code, count, among, all_up_to)

    def _nearest(self, code: Codes, count: int, among: Ids | None, all_up_to: int) -> Candidates:
        query = self._padded(code[None, :])
        known = self._count
        led = LEAD_SPARE * count if self._rests is not None else count
        if among is None:
            if known <= all_up_to:
                return Candidates(self._ids[:known].copy())
            return self._candidates(query, self._led(query, known, led), count)
        rows = self._rows_of(among)
        # Below `known`: what a writer adds meanwhile comes another time.
        rows = rows[(rows >= 0) & (rows < known)]
        if len(rows) <= all_up_to:
            return Candidates(self._ids[rows])
        if len(rows) >= MOST_SHARE * known:
            best = self._led(query, known, math.ceil(SPARE * led * known / len(rows))).among(rows, known)
            if len(best) >= led:
                return self._candidates(query, best, count)
        # In the order of the memory: ids are mostly in it already.
        rows.sort()
        return self._candidates(query, self._led_among(query, rows, led), count)

    def _candidates(self, query: Words, led: _Best, count: int) -> Candidates:
        """The `count` nearest, by all their bits, of those that are nearest by the leading ones."""
        best = led
        if self._rests is not None:
            rows = np.sort(led.rows)
            best = _Best(count)
            distances, places = nearest_rows(query.view(np.uint8)[0], self._gathered(rows).view(np.uint8), count)
            best.offer(distances, rows[places])
        distances, rows = best.sorted(count)
        # Looked up after the scan: the array of ids may have grown, and rows with it.
        return Candidates(self._ids[rows], distances, lambda: self._codes_of(rows))

    def _codes_of(self, rows: NDArray[np.int64]) -> Codes:
        """The codes that lie in these rows now: one that moved since is a slightly better or worse candidate."""
        order = np.argsort(rows)
        codes = np.empty((len(rows), self._code_bytes), dtype=np.uint8)
        codes[order] = self._gathered(rows[order]).view(np.uint8)[:, : self._code_bytes]
        return codes

    def _led(self, query: Words, known: int, count: int) -> _Best:
        """The nearest of all by their leading bits."""
        best = _Best(count)
        lead = query[0, :LEAD_WORDS].view(np.uint8)
        for number, block in enumerate(self._leads):
            first = number * BLOCK
            if first >= known:
                break
            distances, places = nearest_rows(lead, block[: known - first].view(np.uint8), count)
            best.offer(distances, places + first)
        return best

    def _led_among(self, query: Words, rows: NDArray[np.int32], count: int) -> _Best:
        """The nearest of these rows, sorted ones, by their leading bits."""
        best = _Best(count)
        lead = query[0, :LEAD_WORDS].view(np.uint8)
        buffer = np.empty((GATHER, len(lead) // 8), dtype=np.uint64)
        for start in range(0, len(rows), GATHER):
            piece = rows[start : start + GATHER]
            distances, places = nearest_rows(lead, _taken(self._leads, piece, buffer).view(np.uint8), count)
            best.offer(distances, piece[places].astype(np.int64))
        return best

    def _rows_of(self, ids: Ids) -> NDArray[np.int32]:
        """The row of each id, int32; -1 where there is none."""
        row_of = self._rows
        rows = np.full(len(ids), -1, dtype=np.int32)
        inside = (ids >= 0) & (ids < len(row_of))
        rows[inside] = row_of[ids[inside]]
        return rows

    def _gathered(self, rows: NDArray[np.int32] | NDArray[np.int64]) -> Words:
        """The whole codes of these sorted rows."""
        leads = _taken(self._leads, rows)
        return leads if self._rests is None else np.concatenate([leads, _taken(self._rests, rows)], axis=1)

    def _write(self, rows: NDArray[np.int32], codes: Words) -> None:
        numbers = rows // BLOCK
        for number in np.unique(numbers):
            here = numbers == number
            places = rows[here] - number * BLOCK
            self._leads[number][places] = codes[here, :LEAD_WORDS]
            if self._rests is not None:
                self._rests[number][places] = codes[here, LEAD_WORDS:]

    def _reserve(self, count: int, highest_id: int) -> None:
        while len(self._leads) * BLOCK < count:
            if self._rests is not None:
                self._rests.append(np.empty((BLOCK, self._words - LEAD_WORDS), dtype=np.uint64))
            self._leads.append(np.empty((BLOCK, min(self._words, LEAD_WORDS)), dtype=np.uint64))
        if len(self._ids) < count:
            self._ids = _grown(self._ids, count)
        if len(self._rows) <= highest_id:
            self._rows = _grown(self._rows, highest_id + 1)

    def _padded(self, codes: Codes) -> Words:
        if self._code_bytes % 8:
            codes = np.pad(codes, ((0, 0), (0, 8 * self._words - self._code_bytes)))
        return np.ascontiguousarray(codes).view(np.uint64)


class _Best:
    """The nearest rows of several pieces."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._distances: list[NDArray[np.int32]] = []
        self._rows: list[NDArray[np.int64]] = []
        self._held = 0

    def offer(self, distances: NDArray[np.int32], rows: NDArray[np.int64]) -> None:
        self._distances.append(distances)
        self._rows.append(rows)
        self._held += len(rows)
        if self._held > 16 * self._count:
            self._cut()

    def among(self, rows: NDArray[np.int32], known: int) -> _Best:
        """Those of them that are in `rows`, all of which are below `known`."""
        self._cut()
        wanted = np.zeros(known, dtype=bool)
        wanted[rows] = True
        kept = wanted[self._rows[0]]
        self._distances, self._rows, self._held = [self._distances[0][kept]], [self._rows[0][kept]], int(kept.sum())
        return self

    def __len__(self) -> int:
        return self._held

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows of the nearest, in any order."""
        self._cut()
        return self._rows[0]

    def sorted(self, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Distances and rows of the `count` nearest, nearest first."""
        self._cut()
        order = np.argsort(self._distances[0], kind="stable")[:count]
        return self._distances[0][order], self._rows[0][order]

    def _cut(self) -> None:
        distances, rows = np.concatenate(self._distances), np.concatenate(self._rows)
        if len(rows) > self._count:
            kept = np.argpartition(distances, self._count - 1)[: self._count]
            distances, rows = distances[kept], rows[kept]
        self._distances, self._rows, self._held = [distances], [rows], len(rows)


def _taken(blocks: Sequence[Words], rows: NDArray[np.int32] | NDArray[np.int64], buffer: Words | None = None) -> Words:
    """These sorted rows of the blocks, in `buffer` when there is one."""
    out = np.empty((len(rows), blocks[0].shape[1]), dtype=np.uint64) if buffer is None else buffer[: len(rows)]
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
