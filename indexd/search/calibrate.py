"""Plain scores (cosines, bm25) into one currency, so that weights mean something across layers and questions.

**A layer's cosine** becomes its z-score against the library itself: with the cosines of a fixed background sample to
the same question, z = (cosine - mean) / deviation. A z of 4 says "four deviations more alike than a picture of this
library taken at random", whatever the layer. A small library gives a poor deviation, so it is shrunk towards
PRIOR_DEVIATION as if PRIOR_COUNT pictures of that spread had been seen as well (the usual conjugate estimate,
Gelman et al., Bayesian Data Analysis, 3rd ed., 2.6).

**Full text** only tells hits from misses well; bm25 has no scale. Matching is a coin with chance p, the share of pictures that match;
standardised, a hit is worth sqrt((1 - p) / p) and a miss -sqrt(p / (1 - p)), so that a rare word says much and a word
that everybody writes says nothing. The worth of a hit is capped at FULLTEXT_CAP and scaled by its bm25 over the best
bm25 of this question.

**Fusing** is Stouffer's method with weights (Stouffer 1949, Lipták 1958): sum(w z) / sqrt(sum(w^2)). Fused scores of
unrelated layers are again z-scores. A picture without a vector in some layer counts there as average, z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_DEVIATION = 0.06
PRIOR_COUNT = 8
FULLTEXT_CAP = 6.0


@dataclass(frozen=True, slots=True)
class Background:
    """Mean and deviation of a question's cosine over the library."""

    mean: float
    deviation: float

    def z(self, cosine: float) -> float:
        """How many deviations above a random picture of the library this cosine is."""
        return (cosine - self.mean) / self.deviation


def background(sample: NDArray[np.float32], query: NDArray[np.float32]) -> Background:
    """The background of `query` (dim,) from unit vectors `sample` (n, dim); n = 0 gives mean 0 and the prior deviation."""
    count = len(sample)
    if count == 0:
        return Background(0.0, PRIOR_DEVIATION)
    cosines = sample.astype(np.float64) @ query.astype(np.float64)
    spread = float(np.var(cosines)) * count
    deviation = math.sqrt((spread + PRIOR_COUNT * PRIOR_DEVIATION**2) / (count + PRIOR_COUNT))
    return Background(float(np.mean(cosines)), deviation)


def match_share(matches: int, of: int) -> float:
    """The chance that a picture matches, when `matches` of `of` pictures did; never 0 and never 1.

    One hit and one miss are added where there was none, so that a word nobody or everybody used stays finite.
    """
    return max(matches, 1) / (max(of, matches, 1) + 1)


def fulltext_scores(bm25: Mapping[int, float], share: float) -> tuple[dict[int, float], float]:
    """The z of each hit (bm25: greater is better) and the z of a miss, when `share` of the pictures match (0 to 1)."""
    worth = min(math.sqrt((1 - share) / share), FULLTEXT_CAP)
    best = max(bm25.values(), default=0.0)
    # Without ranking (too many hits for bm25) every hit is worth the same.
    z = {image_id: worth * (score / best if best > 0 else 1.0) for image_id, score in bm25.items()}
    return z, -min(math.sqrt(share / (1 - share)), FULLTEXT_CAP)


def fuse(scores: Iterable[tuple[float, float]]) -> float:
    """Weighted Stouffer: pairs of (weight, z)."""
    total, squares = 0.0, 0.0
    for weight, z in scores:
        total += weight * z
        squares += weight * weight
    return total / math.sqrt(squares) if squares else 0.0
