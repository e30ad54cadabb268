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

from indexd.vector_index.code_index import CandidateLimits, Candidates, Ids
from indexd.vector_index.code_scan import REFINE_ROWS, CoarseTopK, refine, top_candidates
from indexd.vector_index.estimate import QueryCode
from indexd.vector_index.mmap_array import MmapArray
from indexd.vector_index.parallel import run_on_pool
from indexd.vector_index.quantize import LENGTH_BYTES, Codes, Floats, split_codes

Rows = NDArray[np.int32]
CodeWords = NDArray[np.uint64]
Row = TypeVar("Row", bound=np.generic)
Integer = TypeVar("Integer", np.int32, np.int64)

# Capacity grows by this many rows, and nothing is copied for it: 128 MB for codes of 1024 bits, taken from the system
# only as they fill.
BLOCK_ROWS = 1 << 20
# From so many rows on, 4 MB of leading words, the first block comes in large pages.
HUGE_PAGES_FROM_ROWS = 1 << 16
# Rows are gathered into a buffer of this many, 1 MB of leading words.
GATHER_ROWS = 1 << 14
# Where this share of all rows or more is in question, all are scanned and the others passed over.
FULL_SCAN_SHARE = 0.2
# The leading words, 512 signs.
LEAD_WORDS = 8
# A part of so many rows, scanned or looked at finely, is worth a thread of its own.
ROWS_PER_THREAD = 1 << 17
REFINED_ROWS_PER_THREAD = 1 << 12
MAX_THREADS = 4
# What is looked at before the threads begin, so that each of them knows what is near.
FIRST_SCAN_ROWS = 1 << 15
MAX_OPTIMISTIC_READS = 3


class CodeMatrix:
    """Rows of codes by image id. Readers take no lock; any number of threads may read beside writers.

    A reader may meet a code that is just being replaced; it is then a slightly better or worse candidate, nothing else.
    Rows that change places would be worse (a candidate lost), so that is counted, and the reader looks again.
    """

    def __init__(self, code_bytes: int) -> None:
        self._sign_bytes = code_bytes - LENGTH_BYTES
        # Whole words are gathered twice as fast as bytes; what is padded is equal everywhere and adds no distance.
        self._words_per_row = -(-self._sign_bytes // 8)
        self._write_lock = threading.Lock()
        # Blocks of leading words, of the others where there are any, and of lengths.
        self._lead_blocks: list[CodeWords] = []
        self._rest_blocks: list[CodeWords] | None = [] if self._words_per_row > LEAD_WORDS else None
        self._length_blocks: list[Floats] = []
        self._small_page_arrays: list[MmapArray] = []
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._row_of_id: Rows = np.empty(0, dtype=np.int32)
        self._count = 0
        self._move_version = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The memory in use, up to the last row that is filled."""
        return self._count * (8 * self._words_per_row + LENGTH_BYTES + 8) + self._row_of_id.nbytes

    def put(self, ids: Ids, codes: Codes, *, replace: bool = True) -> None:
        """Add rows (codes (n, code_bytes), each id once), and replace those of known ids unless told not to."""
        with self._write_lock:
            rows = self._rows_of(ids)
            new = rows < 0
            count = self._count + int(np.count_nonzero(new))
            self._reserve(count, int(ids.max(initial=0)))
            rows[new] = np.arange(self._count, count)
            if not replace:
                ids, codes, rows = ids[new], codes[new], rows[new]
            signs, lengths = split_codes(codes)
            self._write(rows, self._pad_to_words(signs), lengths)
            self._ids[rows] = ids
            self._row_of_id[ids] = rows
            self._count = count

    def remove(self, ids: Ids) -> None:
        """Take rows out; the last ones move into their places. Unknown ids are ignored."""
        with self._write_lock:
            rows = np.sort(self._rows_of(ids))
            rows = rows[rows >= 0]
            if not len(rows):
                return
            self._move_version += 1
            self._row_of_id[self._ids[rows]] = -1
            end = self._count - len(rows)
            holes = rows[rows < end]
            tail = np.setdiff1d(np.arange(end, self._count), rows)
            self._write(holes, self._signs_of(tail), _gather(self._length_blocks, tail))
            moved = self._ids[tail]
            self._ids[holes] = moved
            self._row_of_id[moved] = holes
            self._count = end
            self._move_version += 1

    def nearest(self, query: QueryCode, limits: CandidateLimits, allowed_ids: Ids | None) -> Candidates:
        """The rows nearest to the question, nearest first; `among` (sorted ids) None = of all."""
        for _ in range(MAX_OPTIMISTIC_READS):
            moves = self._move_version
            found = self._nearest(query, limits, allowed_ids)
            if moves == self._move_version and moves % 2 == 0:
                return found
        with self._write_lock:
            return self._nearest(query, limits, allowed_ids)

    def _nearest(self, query: QueryCode, limits: CandidateLimits, allowed_ids: Ids | None) -> Candidates:
        known = self._count
        if allowed_ids is None:
            if known <= limits.exhaustive_up_to:
                return Candidates(self._ids[:known].copy())
            near = self._scan_all(query, limits, known, None)
        else:
            rows = self._rows_of(allowed_ids)
            # Below `known`: what a writer adds meanwhile comes another time.
            rows = rows[(rows >= 0) & (rows < known)]
            if len(rows) <= limits.exhaustive_up_to:
                return Candidates(self._ids[rows])
            if len(rows) >= FULL_SCAN_SHARE * known:
                there = np.zeros(known, dtype=bool)
                there[rows] = True
                near = self._scan_all(query, limits, known, there)
            else:
                # In the order of the memory: ids are mostly in it already.
                rows.sort()
                near = self._scan_rows(query, limits, rows)
        return self._refine(query, np.sort(near.results().rows), limits.max_candidates)

    def _scan_all(
        self, query: QueryCode, limits: CandidateLimits, row_count: int, allowed_rows: NDArray[np.bool_] | None
    ) -> CoarseTopK:
        """The nearest of all rows below `known` (or of those that are `there`) by their leading signs."""

        def look(near: CoarseTopK, first: int, end: int) -> CoarseTopK:
            while first < end:
                number, place = divmod(first, BLOCK_ROWS)
                here = slice(place, min(BLOCK_ROWS, place + end - first))
                signs, lengths = self._lead_blocks[number][here].view(np.uint8), self._length_blocks[number][here]
                near.offer(
                    signs, lengths, first, None if allowed_rows is None else allowed_rows[first : first + len(signs)]
                )
                first += len(signs)
            return near

        near = look(self._empty_top_k(query, limits), 0, min(FIRST_SCAN_ROWS, row_count))
        parts = _split_range(min(FIRST_SCAN_ROWS, row_count), row_count, ROWS_PER_THREAD)
        nears = [near, *(near.fork() for _ in parts[1:])]
        run_on_pool(_scan_pool(), [partial(look, one, *part) for one, part in zip(nears, parts, strict=True)])
        for other in nears[1:]:
            near.merge(other)
        return near

    def _scan_rows(self, query: QueryCode, limits: CandidateLimits, rows: Rows) -> CoarseTopK:
        """The nearest of these rows, sorted ones, by their leading signs."""
        near = self._empty_top_k(query, limits)
        buffer = np.empty((GATHER_ROWS, min(self._words_per_row, LEAD_WORDS)), dtype=np.uint64)
        for start in range(0, len(rows), GATHER_ROWS):
            piece = rows[start : start + GATHER_ROWS]
            leads = _gather(self._lead_blocks, piece, buffer[: len(piece)]).view(np.uint8)
            near.offer(leads, _gather(self._length_blocks, piece), piece.astype(np.int64))
        return near

    def _empty_top_k(self, query: QueryCode, limits: CandidateLimits) -> CoarseTopK:
        return CoarseTopK(query, 8 * min(self._words_per_row, LEAD_WORDS), limits)

    def _refine(self, query: QueryCode, rows: NDArray[np.int64], count: int) -> Candidates:
        """The `count` nearest of these rows, sorted ones, by all their signs."""
        lengths = _gather(self._length_blocks, rows)
        estimates = np.empty(len(rows), dtype=np.float32)

        def look(first: int, end: int) -> None:
            for start in range(first, end, REFINE_ROWS):
                piece = slice(start, min(start + REFINE_ROWS, end))
                estimates[piece] = refine(query, self._signs_of(rows[piece]).view(np.uint8), lengths[piece])

        run_on_pool(
            _scan_pool(), [partial(look, *part) for part in _split_range(0, len(rows), REFINED_ROWS_PER_THREAD)]
        )
        # Looked up after the scan: the array of ids may have grown, and rows with it.
        return top_candidates(self._ids[rows], estimates, lengths, query, count)

    def _rows_of(self, ids: Ids) -> Rows:
        """The row of each id, int32; -1 where there is none."""
        row_of = self._row_of_id
        rows = np.full(len(ids), -1, dtype=np.int32)
        inside = (ids >= 0) & (ids < len(row_of))
        rows[inside] = row_of[ids[inside]]
        return rows

    def _signs_of(self, rows: Rows | NDArray[np.int64]) -> CodeWords:
        """All the signs of these sorted rows."""
        leads = _gather(self._lead_blocks, rows)
        return leads if self._rest_blocks is None else np.concatenate([leads, _gather(self._rest_blocks, rows)], axis=1)

    def _write(self, rows: Rows, signs: CodeWords, lengths: Floats) -> None:
        numbers = rows // BLOCK_ROWS
        for number in np.unique(numbers):
            here = numbers == number
            places = rows[here] - number * BLOCK_ROWS
            self._lead_blocks[number][places] = signs[here, :LEAD_WORDS]
            self._length_blocks[number][places] = lengths[here]
            if self._rest_blocks is not None:
                self._rest_blocks[number][places] = signs[here, LEAD_WORDS:]

    def _reserve(self, count: int, highest_id: int) -> None:
        while len(self._lead_blocks) * BLOCK_ROWS < count:
            self._add_block()
        if count >= HUGE_PAGES_FROM_ROWS:
            for pages in self._small_page_arrays:
                pages.use_huge_pages()
            self._small_page_arrays.clear()
        if len(self._ids) < count:
            self._ids = _grow(self._ids, count)
        if len(self._row_of_id) <= highest_id:
            self._row_of_id = _grow(self._row_of_id, highest_id + 1)

    def _add_block(self) -> None:
        large = bool(self._lead_blocks)
        # All of it or nothing: there may be no memory for one of them.
        rest = (
            []
            if self._rest_blocks is None
            else [MmapArray((BLOCK_ROWS, self._words_per_row - LEAD_WORDS), np.uint64, huge_pages=large)]
        )
        length = MmapArray((BLOCK_ROWS,), np.float32, huge_pages=large)
        lead = MmapArray((BLOCK_ROWS, min(self._words_per_row, LEAD_WORDS)), np.uint64, huge_pages=large)
        if self._rest_blocks is not None:
            self._rest_blocks += [pages.array for pages in rest]
        self._length_blocks.append(length.array)
        self._lead_blocks.append(lead.array)
        if not large:
            self._small_page_arrays += [*rest, length, lead]

    def _pad_to_words(self, signs: Codes) -> CodeWords:
        if self._sign_bytes % 8:
            signs = np.pad(signs, ((0, 0), (0, 8 * self._words_per_row - self._sign_bytes)))
        return np.ascontiguousarray(signs).view(np.uint64)


@functools.cache
def _scan_pool() -> ThreadPoolExecutor:
    """Those that scan beside the one that asks."""
    return ThreadPoolExecutor(MAX_THREADS - 1, thread_name_prefix="scan")


def _split_range(first: int, end: int, least: int) -> list[tuple[int, int]]:
    """The numbers from `first` to `end` in as many successive parts as there are threads for, none shorter than `least`."""
    count = max(1, min((end - first) // least, MAX_THREADS, os.cpu_count() or 1))
    borders = [first + (end - first) * number // count for number in range(count + 1)]
    return list(itertools.pairwise(borders))


def _gather(
    blocks: Sequence[NDArray[Row]], rows: Rows | NDArray[np.int64], out: NDArray[Row] | None = None
) -> NDArray[Row]:
    """These sorted rows of the blocks, in `out` when it is given."""
    if out is None:
        out = np.empty((len(rows), *blocks[0].shape[1:]), dtype=blocks[0].dtype)
    start = 0
    while start < len(rows):
        number = int(rows[start]) // BLOCK_ROWS
        end = int(np.searchsorted(rows, (number + 1) * BLOCK_ROWS))
        # "clip" only because the default checks every index first.
        np.take(blocks[number], rows[start:end] - number * BLOCK_ROWS, axis=0, out=out[start:end], mode="clip")
        start = end
    return out


def _grow(values: NDArray[Integer], least: int) -> NDArray[Integer]:
    """The values in an array with room for `least` and a quarter more, the rest -1."""
    grown = np.full(least + max(least // 4, 1024), -1, dtype=values.dtype)
    grown[: len(values)] = values
    return grown
