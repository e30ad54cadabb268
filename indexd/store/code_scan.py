"""Codes compared with a question, all of them: those of an array, and of a whole table where no index holds it in memory."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.store.coarse import LENGTH_BYTES, Codes, Floats, code_bytes, split
from indexd.store.code_index import Candidates, Ids, Wanted, read_slice
from indexd.store.database import Connection
from indexd.store.estimate import Aim, Distances, Rough
from indexd.store.id_set import IdSet
from indexd.store.revisions import Coding

Rows = NDArray[np.int64]

# Of the rough estimates, those that lie so many of their standard deviations below the best ones are not looked at again.
ROUGH_MARGIN = 3.0
# A first piece that tells what is near, and then greater ones, up to those whose distances, 512 KB, stay in the cache.
FIRST_PIECE = 1 << 13
PIECE = 1 << 17
# Looked at finely at once: codes and distances of 4096 are less than 1 MB.
FINE_PIECE = 1 << 12

_kept = threading.local()


@dataclass(frozen=True, slots=True)
class Found:
    """Rows (n,) with their rough estimates (n,), lengths (n,) and signs (n, bytes; none where they are not kept)."""

    rows: Rows
    estimates: Floats
    lengths: Floats
    signs: Codes

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, places: NDArray[np.int64] | slice) -> Found:
        """Some of them."""
        return Found(self.rows[places], self.estimates[places], self.lengths[places], self.signs[places])

    @classmethod
    def joined(cls, parts: Sequence[Found]) -> Found:
        """All of these in one."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.estimates for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.signs for part in parts]),
        )


class Near:
    """The rows that lie nearest to a question by rough estimates, of many that are offered piece by piece.

    What may be among the best `sure`, but no more than are `looked_at` (and their equals); and the nearest `least` in any
    case. `size` is how many bytes of signs are compared; with `keep` those of what is found are kept.
    """

    def __init__(self, aim: Aim, size: int, wanted: Wanted, *, keep: bool = False) -> None:
        self._wanted, self._kept_bytes = wanted, size if keep else 0
        self._signs = np.ascontiguousarray(aim.planes[:1, :size])
        self._rough = Rough(aim, min(8 * size, aim.dim))
        self._piece = FIRST_PIECE
        self._least = -np.inf
        nothing = np.empty(0, dtype=np.float32)
        self._best = Found(np.empty(0, np.int64), nothing, nothing, np.empty((0, self._kept_bytes), np.uint8))
        self._more: list[Found] = []

    def offer(self, signs: Codes, lengths: Floats, rows: Rows | int, wanted: NDArray[np.bool_] | None = None) -> None:
        """Signs (n, size) with their lengths (n,), and which rows they are: an array, or the first of successive ones.

        `wanted` (n,) = which of them may be found.
        """
        start = 0
        while start < len(signs):
            end = min(start + self._piece, len(signs))
            distances = hamming(self._signs, signs[start:end], _distances(end - start))[0]
            here = lengths[start:end]
            near = distances <= self._rough.farthest(self._least, float(here.min()), float(here.max()))
            if wanted is not None:
                near &= wanted[start:end]
            places = np.flatnonzero(near)
            estimates = self._rough.estimates(distances[places], here[places])
            passing = np.flatnonzero(estimates >= self._least)
            places = places[passing]
            found = places + (start + rows) if isinstance(rows, int) else rows[start:end][places]
            kept = signs[start:end, : self._kept_bytes][places]
            self._more.append(Found(found, estimates[passing], here[places], kept))
            # Not every time: where many are near, that would take longer than to find them.
            if 2 * sum(map(len, self._more)) > len(self._best):
                self._cut()
            start, self._piece = end, min(2 * self._piece, PIECE)

    def begun(self) -> Near:
        """One without any rows, which knows from this one what is near enough."""
        other = copy.copy(self)
        other._best, other._more = self._best.at(slice(0)), []
        return other

    def join(self, other: Near) -> None:
        """Take over what the other found in other rows."""
        self._least = max(self._least, other._least)
        self._more += [other._best, *other._more]

    def best(self) -> Found:
        """What was found, in any order."""
        self._cut()
        return self._best

    def _cut(self) -> None:
        """Keep what may be among the best, and raise the bar to it."""
        found = Found.joined([self._best, *self._more])
        self._more = []
        estimates, wanted = found.estimates, self._wanted
        if len(found) > max(wanted.sure, wanted.least):
            # One partition for each: of several places in one, numpy is slower by far.
            best = _at_place(estimates, wanted.sure)
            bar = best - ROUGH_MARGIN * self._rough.noise * found.lengths[estimates >= best].mean()
            # The best may be far ahead of all others, of which some are wanted all the same.
            bar = min(bar, _at_place(estimates, wanted.least))
            if len(found) > wanted.looked_at:
                bar = max(bar, _at_place(estimates, wanted.looked_at))
            self._least = max(self._least, float(bar))
        self._best = found.at(np.flatnonzero(found.estimates >= self._least))


def _at_place(estimates: Floats, place: int) -> np.float32:
    """The so manieth greatest of these."""
    found: np.float32 = np.partition(estimates, -place)[-place]
    return found


def hamming(queries: Codes, codes: Codes, out: Distances) -> Distances:
    """In how many bits each of the codes (n, bytes) differs from each of the queries (m, bytes): int32 (m, n), into `out`."""
    # Loaded with the first question: it takes 20 MB, and a daemon that nobody asks needs none of it.
    import faiss

    if not (queries.flags.c_contiguous and codes.flags.c_contiguous and out.shape == (len(queries), len(codes))):
        raise ValueError("faiss compares rows that lie one after the other, and writes where there is room")
    first, second, found = (faiss.swig_ptr(array) for array in (queries, codes, out))
    faiss.hammings(first, second, len(queries), len(codes), codes.shape[1], found)  # type: ignore[attr-defined]
    return out


def finely(aim: Aim, signs: Codes, lengths: Floats) -> Floats:
    """The fine estimates (n,) of codes by all their signs (n, bytes)."""
    planes = np.ascontiguousarray(aim.planes[:, : signs.shape[1]])
    return aim.fine(hamming(planes, signs, np.empty((len(planes), len(signs)), dtype=np.int32)), lengths)


def best(ids: Ids, estimates: Floats, lengths: Floats, aim: Aim, count: int) -> Candidates:
    """The `count` of these with the greatest fine estimates, greatest first."""
    if len(ids) > count:
        kept = np.argpartition(estimates, -count)[-count:]
        ids, estimates, lengths = ids[kept], estimates[kept], lengths[kept]
    order = np.argsort(-estimates, kind="stable")
    noise = aim.fine_noise() * float(lengths.mean()) if len(lengths) else 0.0
    return Candidates(ids[order], estimates[order], noise)


def scanned(connection: Connection, coding: Coding, aim: Aim, wanted: Wanted, among: IdSet | None) -> Candidates:
    """The nearest codes of the table (of `among`; None = of all).

    The chunks of vec0 are read as they lie and compared here: 0.15 s a million, where vec0's own `MATCH` takes as long for
    its scan and then time that grows with the square of k (200: 0.23 s, 1000: 2.5 s).
    """
    near = Near(aim, code_bytes(aim.dim) - LENGTH_BYTES, wanted, keep=True)
    last_chunk = 0
    while (piece := read_slice(connection, coding, last_chunk)) is not None:
        last_chunk = piece.last_chunk
        signs, lengths = split(piece.codes)
        near.offer(signs, lengths, piece.ids, None if among is None else among.holds(piece.ids))
    found = near.best()
    return best(found.rows, finely(aim, found.signs, found.lengths), found.lengths, aim, wanted.count)


def _distances(count: int) -> Distances:
    """Room for so many distances, (1, count), which this thread uses again: a fresh half megabyte costs as much as its scan."""
    room: Distances | None = getattr(_kept, "room", None)
    if room is None or room.shape[1] < count:
        room = _kept.room = np.empty((1, max(count, FIRST_PIECE)), dtype=np.int32)
    return room[:, :count]
