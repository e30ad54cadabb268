"""How far the layers of one question say the same thing: the deviation that fused scores really have in the library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.search.calibrate import Background, shared_deviation
from indexd.search.plan import Plan, Probe
from indexd.search.samples import Samples


def deviations(samples: Samples, plan: Plan, scales: Sequence[Background]) -> tuple[float, float]:
    """The deviation in the background of a plan's fused scores, and of those of the parts that attract; never below 1.

    `scales` are the backgrounds of the probes. Full text has no part in it: what holds the words is no background.
    """
    if len(plan.probes) < 2:
        return 1.0, 1.0
    attracting = [place for place, probe in enumerate(plan.probes) if probe.weight > 0]
    z = _joint(samples, plan.probes, scales)
    both = shared_deviation(z, [probe.weight for probe in plan.probes])
    wanted = shared_deviation(z[:, attracting], [plan.probes[place].weight for place in attracting])
    return both, wanted


def _joint(samples: Samples, probes: Sequence[Probe], scales: Sequence[Background]) -> NDArray[np.float64]:
    """The z-scores (n, probes) of the same pictures from all over the library in every probe; 0 = no vector."""
    pictures = samples.pictures()
    z = np.stack(
        [scale.z(samples.cosines(pictures, probe)) for probe, scale in zip(probes, scales, strict=True)], axis=1
    )
    return np.nan_to_num(z[~np.isnan(z).all(axis=1)], nan=0.0)
