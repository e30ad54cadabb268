"""The codes of one layer in memory. Every query compares all of them, or those that a filter leaves.

The leading signs give coarse estimates of all rows; all signs give fine estimates of the rows that may be among the best.
Measured at a million codes of 1024 bits, without AVX-512: faiss counts the differences of 512 signs in 3.5 ms on one thread,
of all 1024 in 11 ms (numpy's `bitwise_count` 49 and 69). A faiss index would be as fast, but copies everything to grow and moves all
later rows to delete one; its RaBitQ index with tables in registers (IndexRaBitQFastScan) takes 6.4 ms for 512 signs, 10.4 for 1024.
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

# Capacity grows by so many rows without a copy: 128 MB for codes of 1024 bits, which the system provides as they fill.
BLOCK_ROWS = 1 << 20
# From so many rows on (4 MB of leading words), the first block uses huge pages.
HUGE_PAGES_FROM_ROWS = 1 << 16
# Rows are gathered into a buffer of this many, 1 MB of leading words.
GATHER_ROWS = 1 << 14
# If at least this share of all rows is allowed, all are scanned with a mask.
FULL_SCAN_SHARE = 0.2
# The leading words, 512 signs.
LEAD_WORDS = 8
# So many rows, scanned or refined, are worth a thread.
ROWS_PER_THREAD = 1 << 17
REFINED_ROWS_PER_THREAD = 1 << 12
MAX_THREADS = 4
# Rows scanned before the threads start, so that each starts with a threshold.
FIRST_SCAN_ROWS = 1 << 15
MAX_OPTIMISTIC_READS = 3


class CodeMatrix:
    """Rows of codes by image id. Readers take no lock; any number of threads may read beside writers.

    A reader may see a code while it is replaced; that only makes a slightly better or worse candidate. A row that moves
    could be lost, so moves are counted, and the reader starts again if the count changed.
    """

    def __init__(self, code_bytes: int) -> None:
        self._sign_bytes = code_bytes - LENGTH_BYTES
        # Whole words are gathered twice as fast as bytes. The padding is equal in all codes and adds no distance.
        self._words_per_row = -(-self._sign_bytes // 8)
        self._write_lock = threading.Lock()
        # Blocks of leading words, of the remaining words if there are any, and of lengths.
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
        """The bytes in use, up to the last row."""
        return self._count * (8 * self._words_per_row + LENGTH_BYTES + 8) + self._row_of_id.nbytes

    def put(self, ids: Ids, codes: Codes, *, replace: bool = True) -> None:
        """Add rows (codes (n, code_bytes), each id once). Those of known ids are replaced, or ignored without `replace`."""
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
        """Remove rows; the last ones move to their places. Unknown ids are ignored."""
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
        """The candidates nearest to the query, nearest first, among `allowed_ids` (sorted; None = all)."""
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
            # Rows that a writer adds meanwhile are ignored.
            rows = rows[(rows >= 0) & (rows < known)]
            if len(rows) <= limits.exhaustive_up_to:
                return Candidates(self._ids[rows])
            if len(rows) >= FULL_SCAN_SHARE * known:
                there = np.zeros(known, dtype=bool)
                there[rows] = True
                near = self._scan_all(query, limits, known, there)
            else:
                # In memory order; the ids are mostly in it already.
                rows.sort()
                near = self._scan_rows(query, limits, rows)
        return self._refine(query, np.sort(near.results().rows), limits.max_candidates)

    def _scan_all(
        self, query: QueryCode, limits: CandidateLimits, row_count: int, allowed_rows: NDArray[np.bool_] | None
    ) -> CoarseTopK:
        """The best of the first `row_count` rows (those in the mask) by their leading signs."""

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
        """The best of these sorted rows by their leading signs."""
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
        """The `count` best of these sorted rows by all their signs."""
        lengths = _gather(self._length_blocks, rows)
        estimates = np.empty(len(rows), dtype=np.float32)

        def look(first: int, end: int) -> None:
            for start in range(first, end, REFINE_ROWS):
                piece = slice(start, min(start + REFINE_ROWS, end))
                estimates[piece] = refine(query, self._signs_of(rows[piece]).view(np.uint8), lengths[piece])

        run_on_pool(
            _scan_pool(), [partial(look, *part) for part in _split_range(0, len(rows), REFINED_ROWS_PER_THREAD)]
        )
        # Looked up after the scan, because the array of ids may have been replaced meanwhile.
        return top_candidates(self._ids[rows], estimates, lengths, query, count)

    def _rows_of(self, ids: Ids) -> Rows:
        """The row of each id (int32); -1 for an unknown id."""
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
        # All blocks or none: there may be no memory for one of them.
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
    """The threads that scan beside the calling one."""
    return ThreadPoolExecutor(MAX_THREADS - 1, thread_name_prefix="scan")


def _split_range(first: int, end: int, least: int) -> list[tuple[int, int]]:
    """Split a range into successive parts, one a thread, none shorter than `least`."""
    count = max(1, min((end - first) // least, MAX_THREADS, os.cpu_count() or 1))
    borders = [first + (end - first) * number // count for number in range(count + 1)]
    return list(itertools.pairwise(borders))


def _gather(
    blocks: Sequence[NDArray[Row]], rows: Rows | NDArray[np.int64], out: NDArray[Row] | None = None
) -> NDArray[Row]:
    """These sorted rows of the blocks, in `out` if it is given."""
    if out is None:
        out = np.empty((len(rows), *blocks[0].shape[1:]), dtype=blocks[0].dtype)
    start = 0
    while start < len(rows):
        number = int(rows[start]) // BLOCK_ROWS
        end = int(np.searchsorted(rows, (number + 1) * BLOCK_ROWS))
        # "clip", because the default mode checks every index first.
        np.take(blocks[number], rows[start:end] - number * BLOCK_ROWS, axis=0, out=out[start:end], mode="clip")
        start = end
    return out


def _grow(values: NDArray[Integer], least: int) -> NDArray[Integer]:
    """The values in an array for `least` and a quarter more; the rest is -1."""
    grown = np.full(least + max(least // 4, 1024), -1, dtype=values.dtype)
    grown[: len(values)] = values
    return grown
