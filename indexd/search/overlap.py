"""How far the layers of one question say the same thing: the deviation that fused scores really have in the library."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.search import likeness
from indexd.search.calibrate import Background, shared_deviation
from indexd.search.plan import Plan, Probe
from indexd.store.index import Store

# Reading 500 vectors takes 2.5 ms a layer, and tells a deviation to 3 %.
SAMPLE_SIZE = 500
SAMPLE_SEED = 1


def deviations(store: Store, plan: Plan, scales: Sequence[Background]) -> tuple[float, float]:
    """The deviation in the background of a plan's fused scores, and of those of the parts that attract; never below 1.

    `scales` are the backgrounds of the probes. Full text has no part in it: what holds the words is no background.
    """
    attracting = [place for place, probe in enumerate(plan.probes) if probe.weight > 0]
    z = _joint(store, plan.probes, scales) if len(plan.probes) > 1 else np.empty((0, len(plan.probes)))
    both = shared_deviation(z, [probe.weight for probe in plan.probes])
    wanted = shared_deviation(z[:, attracting], [plan.probes[place].weight for place in attracting])
    return both, wanted


def _joint(store: Store, probes: Sequence[Probe], scales: Sequence[Background]) -> NDArray[np.float64]:
    """The z-scores (n, probes) of the same pictures from all over the library in every probe; 0 = no vector."""
    count = store.images.count()
    ids = random.Random(SAMPLE_SEED).sample(range(1, count + 1), min(count, SAMPLE_SIZE))
    columns = []
    for probe, scale in zip(probes, scales, strict=True):
        cosines = likeness.scores(store, probe.layer, probe.vector, ids)
        columns.append({image_id: scale.z(cosine) for image_id, cosine in cosines.items()})
    known = sorted(set().union(*columns))
    rows = [[column.get(image_id, 0.0) for column in columns] for image_id in known]
    return np.array(rows, dtype=np.float64).reshape(len(known), len(columns))
