"""Codes compared with a question, all of them: those of an array, and of a whole table where no index holds it in memory."""

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

# Of the rough estimates, those that lie so many of their standard deviations below the best ones are not looked at again.
COARSE_MARGIN_STD = 3.0
# A first piece that tells what is near, and then greater ones, up to those whose distances, 512 KB, stay in the cache.
FIRST_PIECE_ROWS = 1 << 13
MAX_PIECE_ROWS = 1 << 17
# Looked at finely at once: codes and distances of 4096 are less than 1 MB.
REFINE_ROWS = 1 << 12

_thread_local = threading.local()


@dataclass(frozen=True, slots=True)
class CoarseHits:
    """Rows (n,) with their rough estimates (n,), lengths (n,) and signs (n, bytes; none where they are not kept)."""

    rows: Rows
    estimates: Floats
    lengths: Floats
    signs: Codes

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: NDArray[np.int64] | slice) -> CoarseHits:
        """Some of them."""
        return CoarseHits(self.rows[places], self.estimates[places], self.lengths[places], self.signs[places])

    @classmethod
    def concat(cls, parts: Sequence[CoarseHits]) -> CoarseHits:
        """All of these in one."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.estimates for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.signs for part in parts]),
        )


class CoarseTopK:
    """The rows that lie nearest to a question by rough estimates, of many that are offered piece by piece.

    What may be among the best `sure`, but no more than are `looked_at` (and their equals); and the nearest `least` in any
    case. `size` is how many bytes of signs are compared; with `keep` those of what is found are kept.
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
        """Signs (n, size) with their lengths (n,), and which rows they are: an array, or the first of successive ones.

        `wanted` (n,) = which of them may be found.
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
            # Not every time: where many are near, that would take longer than to find them.
            if 2 * sum(map(len, self._pending)) > len(self._best):
                self._prune()
            start, self._piece_rows = end, min(2 * self._piece_rows, MAX_PIECE_ROWS)

    def fork(self) -> CoarseTopK:
        """One without any rows, which knows from this one what is near enough."""
        other = copy.copy(self)
        other._best, other._pending = self._best.take(slice(0)), []
        return other

    def merge(self, other: CoarseTopK) -> None:
        """Take over what the other found in other rows."""
        self._threshold = max(self._threshold, other._threshold)
        self._pending += [other._best, *other._pending]

    def results(self) -> CoarseHits:
        """What was found, in any order."""
        self._prune()
        return self._best

    def _prune(self) -> None:
        """Keep what may be among the best, and raise the bar to it."""
        found = CoarseHits.concat([self._best, *self._pending])
        self._pending = []
        estimates, wanted = found.estimates, self._limits
        if len(found) > max(wanted.guaranteed_top_k, wanted.min_candidates):
            # One partition for each: of several places in one, numpy is slower by far.
            best = _nth_greatest(estimates, wanted.guaranteed_top_k)
            bar = best - COARSE_MARGIN_STD * self._estimator.noise_std * found.lengths[estimates >= best].mean()
            # The best may be far ahead of all others, of which some are wanted all the same.
            bar = min(bar, _nth_greatest(estimates, wanted.min_candidates))
            if len(found) > wanted.refine_limit:
                bar = max(bar, _nth_greatest(estimates, wanted.refine_limit))
            self._threshold = max(self._threshold, float(bar))
        self._best = found.take(np.flatnonzero(found.estimates >= self._threshold))


def _nth_greatest(estimates: Floats, n: int) -> np.float32:
    """The so manieth greatest of these."""
    found: np.float32 = np.partition(estimates, -n)[-n]
    return found


def hamming_distances(queries: Codes, codes: Codes, out: Distances) -> Distances:
    """In how many bits each of the codes (n, bytes) differs from each of the queries (m, bytes): int32 (m, n), into `out`."""
    # Loaded with the first question: it takes 20 MB, and a daemon that nobody asks needs none of it.
    import faiss

    if not (queries.flags.c_contiguous and codes.flags.c_contiguous and out.shape == (len(queries), len(codes))):
        raise ValueError("faiss compares rows that lie one after the other, and writes where there is room")
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
    """Room for so many distances, (1, count), which this thread uses again: a fresh half megabyte costs as much as its scan."""
    room: Distances | None = getattr(_thread_local, "room", None)
    if room is None or room.shape[1] < count:
        room = _thread_local.room = np.empty((1, max(count, FIRST_PIECE_ROWS)), dtype=np.int32)
    return room[:, :count]
