"""Candidates with their scores part by part (a part = a probe, or words), fused and put in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.search.calibrate import fuse
from indexd.search.cutoff import Standing

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Column:
    """What one part of a plan says: plain scores by image, their calibrated ones, and what counts where there is none."""

    label: str
    weight: float
    plain: Mapping[int, float]
    z: Mapping[int, float]
    miss: float
    words: bool = False


class Ranking:
    """Candidates with what every column says of them. `best` are their ids, best first."""

    def __init__(
        self, ids: Sequence[int], columns: Sequence[Column], deviations: tuple[float, float], *, words_alone: bool
    ) -> None:
        """`deviations` of the fused scores and of those of what attracts (see overlap); `words_alone`: see Plan."""
        self._columns = columns
        both, wanted = deviations
        z = np.array([[column.z.get(one, column.miss) for one in ids] for column in columns], dtype=np.float64)
        scores = fuse(z, [column.weight for column in columns], both)
        attraction = _attraction(z, columns, wanted)
        # Every word that attracts must be there: then a picture fits by its words.
        needed = [column.plain for column in columns if column.words and column.weight > 0] if words_alone else None
        order = np.lexsort((-np.asarray(ids, dtype=np.int64), -scores))
        self.best = [ids[at] for at in order]
        self._standings = {
            ids[at]: Standing(score, attracts, needed is not None and all(ids[at] in plain for plain in needed))
            for at, (score, attracts) in enumerate(zip(scores.tolist(), attraction.tolist(), strict=True))
        }

    def standing(self, image_id: int) -> Standing:
        """Where a candidate stands."""
        return self._standings[image_id]

    def plain(self, image_id: int) -> dict[str, float]:
        """The plain scores of a candidate by label, where it has one."""
        return {column.label: column.plain[image_id] for column in self._columns if image_id in column.plain}

    def calibrated(self, image_id: int) -> list[float]:
        """The calibrated scores of a candidate, one a column."""
        return [column.z.get(image_id, column.miss) for column in self._columns]


def _attraction(z: Scores, columns: Sequence[Column], deviation: float) -> Scores:
    """The fused scores of what attracts; a picture without the words is judged by its vectors alone."""
    by_all = fuse(z, [max(column.weight, 0.0) for column in columns], deviation)
    by_vectors = [0.0 if column.words else max(column.weight, 0.0) for column in columns]
    return np.maximum(by_all, fuse(z, by_vectors, deviation)) if any(by_vectors) else by_all
