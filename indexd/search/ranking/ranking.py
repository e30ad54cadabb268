"""Fuses the scores of the candidates over all terms and sorts them."""

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
    """The scores of one term by image id. `missing_z` is the z-score of an image without a score."""

    label: str
    weight: float
    raw_scores: Mapping[int, float]
    z_scores: Mapping[int, float]
    missing_z: float
    is_text: bool = False


class Ranking:
    """Candidates with their scores. `ranked_ids` are their ids, best first."""

    def __init__(
        self,
        ids: Sequence[int],
        columns: Sequence[ScoreColumn],
        deviations: tuple[float, float],
        *,
        text_terms_only: bool,
    ) -> None:
        """`deviations`: see `fused_deviations`. `text_terms_only`: see `SearchPlan`."""
        self._columns = columns
        all_deviation, positive_deviation = deviations
        z = np.array(
            [[column.z_scores.get(image_id, column.missing_z) for image_id in ids] for column in columns],
            dtype=np.float64,
        )
        scores = fuse_z_scores(z, [column.weight for column in columns], all_deviation)
        positive_scores = _positive_scores(z, columns, positive_deviation)
        # An image that has every positive text term matches, whatever its vectors say.
        required = (
            [column.raw_scores for column in columns if column.is_text and column.weight > 0]
            if text_terms_only
            else None
        )
        order = np.lexsort((-np.asarray(ids, dtype=np.int64), -scores))
        self.ranked_ids = [ids[row] for row in order]
        self._scores = {
            image_id: CandidateScore(
                score, positive, required is not None and all(image_id in matched for matched in required)
            )
            for image_id, score, positive in zip(ids, scores.tolist(), positive_scores.tolist(), strict=True)
        }

    def score_of(self, image_id: int) -> CandidateScore:
        return self._scores[image_id]

    def raw_scores_of(self, image_id: int) -> dict[str, float]:
        """The raw scores of a candidate by label, without terms for which it has none."""
        return {column.label: column.raw_scores[image_id] for column in self._columns if image_id in column.raw_scores}

    def z_scores_of(self, image_id: int) -> list[float]:
        """The z-scores of a candidate in the order of the columns."""
        return [column.z_scores.get(image_id, column.missing_z) for column in self._columns]


def _positive_scores(z: Scores, columns: Sequence[ScoreColumn], deviation: float) -> Scores:
    """The fused scores of the positive terms: the maximum of all terms and of the vector terms alone."""
    of_all = fuse_z_scores(z, [max(column.weight, 0.0) for column in columns], deviation)
    vector_weights = [0.0 if column.is_text else max(column.weight, 0.0) for column in columns]
    return np.maximum(of_all, fuse_z_scores(z, vector_weights, deviation)) if any(vector_weights) else of_all
