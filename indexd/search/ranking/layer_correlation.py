"""How far the layers of one question say the same thing: the deviation that fused scores really have in the library."""

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
    """The deviation in the background of a plan's fused scores, and of those of the parts that attract; never below 1.

    `scales` are the backgrounds of the probes. Full text has no part in it: what holds the words is no background.
    """
    if len(plan.vector_terms) < 2:
        return 1.0, 1.0
    attracting = [place for place, probe in enumerate(plan.vector_terms) if probe.weight > 0]
    z = _joint_z_scores(samples, plan.vector_terms, backgrounds)
    both = fused_deviation(z, [probe.weight for probe in plan.vector_terms])
    wanted = fused_deviation(z[:, attracting], [plan.vector_terms[place].weight for place in attracting])
    return both, wanted


def _joint_z_scores(
    samples: BackgroundSamples, terms: Sequence[VectorTerm], backgrounds: Sequence[Background]
) -> NDArray[np.float64]:
    """The z-scores (n, probes) of the same pictures from all over the library in every probe; 0 = no vector."""
    pictures = samples.sampled_images()
    z = np.stack(
        [scale.z_scores(samples.cosines(pictures, probe)) for probe, scale in zip(terms, backgrounds, strict=True)],
        axis=1,
    )
    return np.nan_to_num(z[~np.isnan(z).all(axis=1)], nan=0.0)
