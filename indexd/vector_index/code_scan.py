"""Compares codes with a query: the best by coarse estimates, then fine estimates of those."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.vector_index.code_index import CandidateLimits, Candidates, CodeSlice, Ids
from indexd.vector_index.estimate import CoarseEstimator, Distances, QueryCode
from indexd.vector_index.quantize import LENGTH_BYTES, Codes, Floats, code_bytes, split_codes

Rows = NDArray[np.int64]

# Candidates whose coarse estimate is more standard deviations below the best ones are dropped.
COARSE_MARGIN_STD = 3.0
# A small first piece sets the threshold; later pieces double, up to one whose distances (512 KB) stay in the cache.
FIRST_PIECE_ROWS = 1 << 13
MAX_PIECE_ROWS = 1 << 17
# Rows refined at once: their codes and distances take less than 1 MB.
REFINE_ROWS = 1 << 12

_thread_local = threading.local()


@dataclass(frozen=True, slots=True)
class CoarseHits:
    """Rows (n,) with their coarse estimates (n,), lengths (n,) and signs (n, bytes; 0 bytes if they are not kept)."""

    rows: Rows
    estimates: Floats
    lengths: Floats
    signs: Codes

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: NDArray[np.int64] | slice) -> CoarseHits:
        """The hits at these positions."""
        return CoarseHits(self.rows[places], self.estimates[places], self.lengths[places], self.signs[places])

    @classmethod
    def concat(cls, parts: Sequence[CoarseHits]) -> CoarseHits:
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.estimates for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.signs for part in parts]),
        )


class CoarseTopK:
    """Keeps the best rows by coarse estimate of all that are offered, in pieces.

    Kept are the rows that may be among the best `guaranteed_top_k` (at most `refine_limit` and their equals), and the best
    `min_candidates` in any case. `sign_bytes` of each code are compared.
    """

    def __init__(self, query: QueryCode, sign_bytes: int, limits: CandidateLimits, *, keep_signs: bool = False) -> None:
        self._limits, self._kept_bytes = limits, sign_bytes if keep_signs else 0
        self._signs = np.ascontiguousarray(query.bit_planes[:1, :sign_bytes])
        self._estimator = CoarseEstimator(query, min(8 * sign_bytes, query.dim))
        self._piece_rows = FIRST_PIECE_ROWS
        self._threshold = -np.inf
        nothing = np.empty(0, dtype=np.float32)
        self._best = CoarseHits(np.empty(0, np.int64), nothing, nothing, np.empty((0, self._kept_bytes), np.uint8))
        self._pending: list[CoarseHits] = []

    def offer(self, signs: Codes, lengths: Floats, rows: Rows | int, mask: NDArray[np.bool_] | None = None) -> None:
        """Offer signs (n, sign_bytes) with their lengths (n,). `rows`: their row numbers, or the first of successive ones.

        `mask` (n,): which of them may be kept.
        """
        start = 0
        while start < len(signs):
            end = min(start + self._piece_rows, len(signs))
            distances = hamming_distances(self._signs, signs[start:end], _distance_buffer(end - start))[0]
            here = lengths[start:end]
            near = distances <= self._estimator.max_distance(self._threshold, float(here.min()), float(here.max()))
            if mask is not None:
                near &= mask[start:end]
            places = np.flatnonzero(near)
            estimates = self._estimator.estimates(distances[places], here[places])
            passing = np.flatnonzero(estimates >= self._threshold)
            places = places[passing]
            found = places + (start + rows) if isinstance(rows, int) else rows[start:end][places]
            kept = signs[start:end, : self._kept_bytes][places]
            self._pending.append(CoarseHits(found, estimates[passing], here[places], kept))
            # Not for every piece: pruning would take longer than the scan if many rows pass.
            if 2 * sum(map(len, self._pending)) > len(self._best):
                self._prune()
            start, self._piece_rows = end, min(2 * self._piece_rows, MAX_PIECE_ROWS)

    def fork(self) -> CoarseTopK:
        """An empty top k with the threshold of this one, for another thread."""
        other = copy.copy(self)
        other._best, other._pending = self._best.take(slice(0)), []
        return other

    def merge(self, other: CoarseTopK) -> None:
        """Add what another top k kept of other rows."""
        self._threshold = max(self._threshold, other._threshold)
        self._pending += [other._best, *other._pending]

    def results(self) -> CoarseHits:
        """The rows kept, in any order."""
        self._prune()
        return self._best

    def _prune(self) -> None:
        """Drop rows that cannot be among the best, and raise the threshold."""
        found = CoarseHits.concat([self._best, *self._pending])
        self._pending = []
        estimates, wanted = found.estimates, self._limits
        if len(found) > max(wanted.guaranteed_top_k, wanted.min_candidates):
            # One partition each: np.partition with several positions is much slower.
            best = _nth_greatest(estimates, wanted.guaranteed_top_k)
            bar = best - COARSE_MARGIN_STD * self._estimator.noise_std * found.lengths[estimates >= best].mean()
            # The best may be far ahead of the others, some of which are required all the same.
            bar = min(bar, _nth_greatest(estimates, wanted.min_candidates))
            if len(found) > wanted.refine_limit:
                bar = max(bar, _nth_greatest(estimates, wanted.refine_limit))
            self._threshold = max(self._threshold, float(bar))
        self._best = found.take(np.flatnonzero(found.estimates >= self._threshold))


def _nth_greatest(estimates: Floats, n: int) -> np.float32:
    found: np.float32 = np.partition(estimates, -n)[-n]
    return found


def hamming_distances(queries: Codes, codes: Codes, out: Distances) -> Distances:
    """The number of different bits of each code (n, bytes) and each query (m, bytes): int32 (m, n), written to `out`."""
    # Imported with the first query: it takes 20 MB, which a daemon without queries does not need.
    import faiss

    if not (queries.flags.c_contiguous and codes.flags.c_contiguous and out.shape == (len(queries), len(codes))):
        raise ValueError("queries and codes must be C-contiguous, and out must have the shape (queries, codes)")
    first, second, found = (faiss.swig_ptr(array) for array in (queries, codes, out))
    faiss.hammings(first, second, len(queries), len(codes), codes.shape[1], found)  # type: ignore[attr-defined]
    return out


def refine(query: QueryCode, signs: Codes, lengths: Floats) -> Floats:
    """The fine estimates (n,) of codes by all their signs (n, bytes)."""
    planes = np.ascontiguousarray(query.bit_planes[:, : signs.shape[1]])
    return query.fine_estimates(
        hamming_distances(planes, signs, np.empty((len(planes), len(signs)), dtype=np.int32)), lengths
    )


def top_candidates(ids: Ids, estimates: Floats, lengths: Floats, query: QueryCode, count: int) -> Candidates:
    """The `count` of these with the greatest fine estimates, greatest first."""
    if len(ids) > count:
        kept = np.argpartition(estimates, -count)[-count:]
        ids, estimates, lengths = ids[kept], estimates[kept], lengths[kept]
    order = np.argsort(-estimates, kind="stable")
    noise = query.fine_noise_std() * float(lengths.mean()) if len(lengths) else 0.0
    return Candidates(ids[order], estimates[order], noise)


def scan_slices(
    slices: Iterable[CodeSlice], query: QueryCode, limits: CandidateLimits, allowed_ids: Ids | None
) -> Candidates:
    """The candidates of a query among the codes of these slices, `allowed_ids` (sorted, each once) of them; None = all.

    Compares each slice as it is read. A million codes of 1024 bits take 0.15 s, reading included; `MATCH` of sqlite-vec
    scans in the same time and then takes time that grows with the square of k (200: 0.23 s, 1000: 2.5 s).
    """
    top = CoarseTopK(query, code_bytes(query.dim) - LENGTH_BYTES, limits, keep_signs=True)
    for piece in slices:
        signs, lengths = split_codes(piece.codes)
        top.offer(signs, lengths, piece.ids, None if allowed_ids is None else membership_mask(allowed_ids, piece.ids))
    found = top.results()
    return top_candidates(
        found.rows, refine(query, found.signs, found.lengths), found.lengths, query, limits.max_candidates
    )


def membership_mask(sorted_ids: Ids, ids: Ids) -> NDArray[np.bool_]:
    """Which of `ids` (n,) occur in `sorted_ids`: bool (n,)."""
    if not len(sorted_ids):
        return np.zeros(len(ids), dtype=bool)
    positions = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    found: NDArray[np.bool_] = sorted_ids[positions] == ids
    return found


def _distance_buffer(count: int) -> Distances:
    """A buffer (1, count) that this thread reuses: allocating half a megabyte costs as much as the scan that fills it."""
    buffer: Distances | None = getattr(_thread_local, "buffer", None)
    if buffer is None or buffer.shape[1] < count:
        buffer = _thread_local.buffer = np.empty((1, max(count, FIRST_PIECE_ROWS)), dtype=np.int32)
    return buffer[:, :count]
