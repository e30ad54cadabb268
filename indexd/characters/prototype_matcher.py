"""Finds the nearest character of a face: within its threshold, and by a margin before the second nearest."""

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
# The prototypes of a character are computed from at most this many of its faces.
MAX_FACES_PER_CHARACTER = 200


@dataclass(frozen=True, slots=True)
class PrototypeMatches:
    """For each face: the matched character (0 = none), and the cosine similarity of the nearest one."""

    character: Ids
    score: Floats


class PrototypeMatcher:
    """Prototypes of all characters in memory; 1 000 characters with 2 prototypes each take 8 MB. Thread-safe."""

    def __init__(self, threshold: float = DEFAULT_THRESHOLD, margin: float = DEFAULT_MARGIN) -> None:
        self.threshold = threshold
        self.margin = margin
        self._lock = threading.Lock()
        self._prototypes: dict[int, Floats] = {}
        self._thresholds: dict[int, float] = {}
        self._matrix: tuple[Floats, Ids, Floats, Ids] | None = None

    def set_faces(self, character: int, rows: Floats, threshold: float | None = None) -> None:
        """Compute the prototypes of a character from unit vectors (n, dim); n = 0 removes it. None = default threshold."""
        prototypes = compute_prototypes(rows) if len(rows) else None
        with self._lock:
            self._matrix = None
            self._thresholds.pop(character, None)
            if prototypes is None:
                self._prototypes.pop(character, None)
                return
            self._prototypes[character] = prototypes
            if threshold is not None:
                self._thresholds[character] = threshold

    def clear(self) -> None:
        """Remove every character, after a change of the face model."""
        with self._lock:
            self._prototypes, self._thresholds, self._matrix = {}, {}, None

    def get(self, character: int) -> Floats | None:
        """The prototypes (k, dim) of a character; None when it has no faces."""
        with self._lock:
            return self._prototypes.get(character)

    def all_prototypes(self) -> Mapping[int, Floats]:
        with self._lock:
            return dict(self._prototypes)

    def nearest(self, rows: Floats, rejected: Collection[tuple[int, int]] = ()) -> PrototypeMatches:
        """The character of each of these unit vectors (n, dim). `rejected`: pairs (row, character) never to match."""
        with self._lock:
            if self._matrix is None:
                self._matrix = self._build_matrix()
            matrix, starts, thresholds, characters = self._matrix
        if not len(characters) or not len(rows):
            return PrototypeMatches(np.zeros(len(rows), np.int64), np.full(len(rows), -1.0, np.float32))
        scores = np.maximum.reduceat(rows @ matrix.T, starts, axis=1)
        column_of = {one: column for column, one in enumerate(characters.tolist())} if rejected else {}
        for row, character in rejected:
            if character in column_of:
                scores[row, column_of[character]] = -1.0
        best = scores.argmax(axis=1)
        every_row = np.arange(len(rows))
        top = scores[every_row, best].copy()
        scores[every_row, best] = -1.0
        matched = (top >= thresholds[best]) & (top - scores.max(axis=1) >= self.margin)
        return PrototypeMatches(np.where(matched, characters[best], 0), np.asarray(top, np.float32))

    def _build_matrix(self) -> tuple[Floats, Ids, Floats, Ids]:
        """All prototypes as rows, the first row of each character, the thresholds, and the character ids."""
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
    """At most MAX_FACES_PER_CHARACTER of a character's faces: confirmed ones first, then evenly spaced others."""
    if len(ids) <= MAX_FACES_PER_CHARACTER:
        return ids
    first, others = ids[confirmed][:MAX_FACES_PER_CHARACTER], ids[~confirmed]
    remaining = MAX_FACES_PER_CHARACTER - len(first)
    spaced = others[np.linspace(0, len(others) - 1, remaining).astype(np.int64)] if remaining else others[:0]
    return np.sort(np.concatenate([first, spaced]))
