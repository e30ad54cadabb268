"""Candidates with their scores part by part (a part = a probe, or words), fused and put in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.search.ranking.calibration import fuse_z_scores
from indexd.search.ranking.cutoff import CandidateScore

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """What one part of a plan says: plain scores by image, their calibrated ones, and what counts where there is none."""

    label: str
    weight: float
    raw_scores: Mapping[int, float]
    z_scores: Mapping[int, float]
    missing_z: float
    is_text: bool = False


class Ranking:
    """Candidates with what every column says of them. `best` are their ids, best first."""

    def __init__(
        self,
        ids: Sequence[int],
        columns: Sequence[ScoreColumn],
        deviations: tuple[float, float],
        *,
        text_terms_only: bool,
    ) -> None:
        """`deviations` of the fused scores and of those of what attracts (see overlap); `words_alone`: see Plan."""
        self._columns = columns
        both, wanted = deviations
        z = np.array(
            [[column.z_scores.get(one, column.missing_z) for one in ids] for column in columns], dtype=np.float64
        )
        scores = fuse_z_scores(z, [column.weight for column in columns], both)
        attraction = _positive_scores(z, columns, wanted)
        # Every word that attracts must be there: then a picture fits by its words.
        needed = (
            [column.raw_scores for column in columns if column.is_text and column.weight > 0]
            if text_terms_only
            else None
        )
        order = np.lexsort((-np.asarray(ids, dtype=np.int64), -scores))
        self.ranked_ids = [ids[at] for at in order]
        self._scores = {
            ids[at]: CandidateScore(score, attracts, needed is not None and all(ids[at] in plain for plain in needed))
            for at, (score, attracts) in enumerate(zip(scores.tolist(), attraction.tolist(), strict=True))
        }

    def score_of(self, image_id: int) -> CandidateScore:
        """Where a candidate stands."""
        return self._scores[image_id]

    def raw_scores_of(self, image_id: int) -> dict[str, float]:
        """The plain scores of a candidate by label, where it has one."""
        return {column.label: column.raw_scores[image_id] for column in self._columns if image_id in column.raw_scores}

    def z_scores_of(self, image_id: int) -> list[float]:
        """The calibrated scores of a candidate, one a column."""
        return [column.z_scores.get(image_id, column.missing_z) for column in self._columns]


def _positive_scores(z: Scores, columns: Sequence[ScoreColumn], deviation: float) -> Scores:
    """The fused scores of what attracts; a picture without the words is judged by its vectors alone."""
    by_all = fuse_z_scores(z, [max(column.weight, 0.0) for column in columns], deviation)
    by_vectors = [0.0 if column.is_text else max(column.weight, 0.0) for column in columns]
    return np.maximum(by_all, fuse_z_scores(z, by_vectors, deviation)) if any(by_vectors) else by_all
