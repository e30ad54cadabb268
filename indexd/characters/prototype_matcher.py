"""A new face to the nearest character at once, where it is near enough and no other is nearly as near."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats, Ids
from indexd.characters.prototypes import compute_prototypes

DEFAULT_THRESHOLD = 0.75
DEFAULT_MARGIN = 0.05
# Characters are described from at most so many of their faces.
MAX_FACES_PER_CHARACTER = 200


@dataclass(frozen=True, slots=True)
class PrototypeMatches:
    """For each face: the character it may be given (0 = none), and how near (cosine) its nearest one is."""

    character: Ids
    score: Floats


class PrototypeMatcher:
    """The references of all characters, in memory; 1 000 characters of 2 are 8 MB. May be used from any thread."""

    def __init__(self, threshold: float = DEFAULT_THRESHOLD, margin: float = DEFAULT_MARGIN) -> None:
        self.threshold = threshold
        self.margin = margin
        self._lock = threading.Lock()
        self._prototypes: dict[int, Floats] = {}
        self._thresholds: dict[int, float] = {}
        self._matrix: tuple[Floats, Ids, Floats, Ids] | None = None

    def set_faces(self, character: int, rows: Floats, threshold: float | None = None) -> None:
        """Take these unit vectors (n, dim) as the faces of a character; none: it is forgotten. None = the usual threshold."""
        found = compute_prototypes(rows) if len(rows) else None
        with self._lock:
            self._matrix = None
            self._thresholds.pop(character, None)
            if found is None:
                self._prototypes.pop(character, None)
                return
            self._prototypes[character] = found
            if threshold is not None:
                self._thresholds[character] = threshold

    def clear(self) -> None:
        """Forget every character: the vectors are of another model now."""
        with self._lock:
            self._prototypes, self._thresholds, self._matrix = {}, {}, None

    def get(self, character: int) -> Floats | None:
        """The references (k, dim) of a character; None when it has no faces."""
        with self._lock:
            return self._prototypes.get(character)

    def all_prototypes(self) -> Mapping[int, Floats]:
        """The references by character."""
        with self._lock:
            return dict(self._prototypes)

    def nearest(self, rows: Floats, rejected: Collection[tuple[int, int]] = ()) -> PrototypeMatches:
        """Whom to give each of these unit vectors (n, dim); `rejected` are pairs (row, character) that are not asked for."""
        with self._lock:
            if self._matrix is None:
                self._matrix = self._build_matrix()
            matrix, starts, thresholds, characters = self._matrix
        if not len(characters) or not len(rows):
            return PrototypeMatches(np.zeros(len(rows), np.int64), np.full(len(rows), -1.0, np.float32))
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
        return PrototypeMatches(np.where(sure, characters[best], 0), np.asarray(top, np.float32))

    def _build_matrix(self) -> tuple[Floats, Ids, Floats, Ids]:
        """All references below each other, where each character's begin, the thresholds, the characters."""
        characters = sorted(self._prototypes)
        if not characters:
            empty = np.zeros(0, np.int64)
            return np.zeros((0, 0), np.float32), empty, np.zeros(0, np.float32), empty
        counts = [len(self._prototypes[one]) for one in characters]
        return (
            np.concatenate([self._prototypes[one] for one in characters]),
            np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
            np.array([self._thresholds.get(one, self.threshold) for one in characters], np.float32),
            np.array(characters, np.int64),
        )


def select_prototype_faces(ids: NDArray[np.int64], confirmed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which of a character's faces to describe it from when it has very many: the confirmed ones first, the rest evenly."""
    if len(ids) <= MAX_FACES_PER_CHARACTER:
        return ids
    sure, rest = ids[confirmed][:MAX_FACES_PER_CHARACTER], ids[~confirmed]
    room = MAX_FACES_PER_CHARACTER - len(sure)
    evenly = rest[np.linspace(0, len(rest) - 1, room).astype(np.int64)] if room else rest[:0]
    return np.sort(np.concatenate([sure, evenly]))
