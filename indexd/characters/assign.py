"""A new face to the nearest character at once, where it is near enough and no other is nearly as near."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.characters.references import references
from indexd.characters.vectors import Floats, Ids

THRESHOLD = 0.75
MARGIN = 0.05
# Characters are described from at most so many of their faces.
MOST_FACES = 200


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each face: the character it may be given (0 = none), and how near (cosine) its nearest one is."""

    character: Ids
    score: Floats


class References:
    """The references of all characters, in memory; 1 000 characters of 2 are 8 MB. May be used from any thread."""

    def __init__(self, threshold: float = THRESHOLD, margin: float = MARGIN) -> None:
        self.threshold = threshold
        self.margin = margin
        self._lock = threading.Lock()
        self._by_character: dict[int, Floats] = {}
        self._thresholds: dict[int, float] = {}
        self._matrix: tuple[Floats, Ids, Floats, Ids] | None = None

    def describe(self, character: int, rows: Floats, threshold: float | None = None) -> None:
        """Take these unit vectors (n, dim) as the faces of a character; none: it is forgotten. None = the usual threshold."""
        found = references(rows) if len(rows) else None
        with self._lock:
            self._matrix = None
            self._thresholds.pop(character, None)
            if found is None:
                self._by_character.pop(character, None)
                return
            self._by_character[character] = found
            if threshold is not None:
                self._thresholds[character] = threshold

    def clear(self) -> None:
        """Forget every character: the vectors are of another model now."""
        with self._lock:
            self._by_character, self._thresholds, self._matrix = {}, {}, None

    def of(self, character: int) -> Floats | None:
        """The references (k, dim) of a character; None when it has no faces."""
        with self._lock:
            return self._by_character.get(character)

    def all(self) -> Mapping[int, Floats]:
        """The references by character."""
        with self._lock:
            return dict(self._by_character)

    def nearest(self, rows: Floats, rejected: Collection[tuple[int, int]] = ()) -> Nearest:
        """Whom to give each of these unit vectors (n, dim); `rejected` are pairs (row, character) that are not asked for."""
        with self._lock:
            if self._matrix is None:
                self._matrix = self._laid_out()
            matrix, starts, thresholds, characters = self._matrix
        if not len(characters) or not len(rows):
            return Nearest(np.zeros(len(rows), np.int64), np.full(len(rows), -1.0, np.float32))
        scores = np.maximum.reduceat(rows @ matrix.T, starts, axis=1)
        place_of = {one: place for place, one in enumerate(characters.tolist())} if rejected else {}
        for row, character in rejected:
            if character in place_of:
                scores[row, place_of[character]] = -1.0
        best = scores.argmax(axis=1)
        every = np.arange(len(rows))
        top = scores[every, best].copy()
        scores[every, best] = -1.0
        sure = (top >= thresholds[best]) & (top - scores.max(axis=1) >= self.margin)
        return Nearest(np.where(sure, characters[best], 0), np.asarray(top, np.float32))

    def _laid_out(self) -> tuple[Floats, Ids, Floats, Ids]:
        """All references below each other, where each character's begin, the thresholds, the characters."""
        characters = sorted(self._by_character)
        if not characters:
            empty = np.zeros(0, np.int64)
            return np.zeros((0, 0), np.float32), empty, np.zeros(0, np.float32), empty
        counts = [len(self._by_character[one]) for one in characters]
        return (
            np.concatenate([self._by_character[one] for one in characters]),
            np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
            np.array([self._thresholds.get(one, self.threshold) for one in characters], np.float32),
            np.array(characters, np.int64),
        )


def described_from(ids: NDArray[np.int64], confirmed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which of a character's faces to describe it from when it has very many: the confirmed ones first, the rest evenly."""
    if len(ids) <= MOST_FACES:
        return ids
    sure, rest = ids[confirmed][:MOST_FACES], ids[~confirmed]
    room = MOST_FACES - len(sure)
    evenly = rest[np.linspace(0, len(rest) - 1, room).astype(np.int64)] if room else rest[:0]
    return np.sort(np.concatenate([sure, evenly]))
