"""Correlation of the layers of a search: the standard deviation of fused scores over images of the library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.search.query.search_plan import SearchPlan, VectorTerm
from indexd.search.ranking.background_samples import BackgroundSamples
from indexd.search.ranking.calibration import Background, fused_deviation


def fused_deviations(
    samples: BackgroundSamples, plan: SearchPlan, backgrounds: Sequence[Background]
) -> tuple[float, float]:
    """Standard deviations, at least 1, of the fused scores of all vector terms and of the positive ones.

    `backgrounds` belong to the vector terms of the plan, in their order. Text terms are not included.
    """
    if len(plan.vector_terms) < 2:
        return 1.0, 1.0
    positive = [column for column, term in enumerate(plan.vector_terms) if term.weight > 0]
    z = _joint_z_scores(samples, plan.vector_terms, backgrounds)
    of_all = fused_deviation(z, [term.weight for term in plan.vector_terms])
    of_positive = fused_deviation(z[:, positive], [plan.vector_terms[column].weight for column in positive])
    return of_all, of_positive


def _joint_z_scores(
    samples: BackgroundSamples, terms: Sequence[VectorTerm], backgrounds: Sequence[Background]
) -> NDArray[np.float64]:
    """The z-scores (images, terms) of one image sample for every term; 0 where an image has no vector."""
    images = samples.sampled_images()
    z = np.stack(
        [
            background.z_scores(samples.cosines(images, term))
            for term, background in zip(terms, backgrounds, strict=True)
        ],
        axis=1,
    )
    return np.nan_to_num(z[~np.isnan(z).all(axis=1)], nan=0.0)
