"""Plain scores (cosines, bm25) into one currency, so that weights mean something across layers and questions.

**A layer's cosine** becomes its z-score against the pictures of the library that do *not* fit the question:
z = (cosine - mean) / deviation, of the cosines of a fixed background sample to the same question. A plain mean and
deviation would call what fits ordinary where much of the library fits. So the sample is cut in two by Otsu's threshold
(IEEE Trans. SMC 9, 1979); where the two lie at least GROUPS_APART of their deviations apart (Ashman's D, Astronomical
Journal 108, 1994) and hold GROUP_SHARE of it each (and GROUP_LEAST), the lower one is what does not fit, be it the greater or not. Of
that, or else of all, the bulk is taken by the minimum covariance determinant in one dimension: the half with the least
variance, then all that lies within 2.5 deviations of it (Rousseeuw and Leroy, Robust Regression and Outlier Detection,
1987). Used so, it is Efron's empirical null (JASA 99, 2004). The deviation is at least half of the plain one (a quarter
with two groups), so that a batch of almost equal pictures is no measure of the others. A small library gives a poor
deviation, so it is shrunk towards PRIOR_DEVIATION as if PRIOR_COUNT pictures of that spread had been seen as well (the
usual conjugate estimate, Gelman et al., Bayesian Data Analysis, 3rd ed., 2.6).

**Full text** only tells hits from misses well; bm25 has no scale. Matching is a coin with chance p, the share of pictures that match;
standardised, a hit is worth sqrt((1 - p) / p) and a miss -sqrt(p / (1 - p)), so that a rare word says much and a word
that everybody writes says nothing. The worth of a hit is capped at FULLTEXT_CAP and scaled by its bm25 over the best
bm25 of this question.

**Fusing** is Stouffer's method with weights (Stouffer 1949, Lipták 1958): sum(w z) / sqrt(sum(w^2)). Layers that say the
same thing twice would count it twice: the sum is divided by the deviation it really has over the background, where that
is more than 1 (Strube, Psychological Bulletin 97, 1985: combining dependent results). A picture without a vector in
some layer counts there as average, z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_DEVIATION = 0.06
PRIOR_COUNT = 8
FULLTEXT_CAP = 6.0
REACH_DEVIATIONS = 2.5
MIN_GROUP_SHARE = 0.1
MIN_GROUP_SIZE = 10
MIN_GROUP_SEPARATION = 4.0
# What the variance of the middle half of a normal distribution is multiplied by to be the whole one's variance, and the
# same for the deviation within REACH_DEVIATIONS (Croux and Haesbroeck, J. of Multivariate Analysis 71, 1999).
_HALF_VARIANCE_FACTOR = 7.0101
_REACH_DEVIATION_FACTOR = 1.0476
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Background:
    """Mean and deviation of a question's cosine over the pictures that do not fit, as `count` pictures tell them."""

    mean: float
    deviation: float
    count: int = 0

    def z_scores(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many deviations above a picture that does not fit these cosines are, one by one."""
        return (cosines - self.mean) / self.deviation


def measure_background(sample: NDArray[np.float32], query: NDArray[np.float32]) -> Background:
    """The background of `query` (dim,) from unit vectors `sample` (n, dim); n = 0 gives mean 0 and the prior deviation."""
    count = len(sample)
    if count == 0:
        return Background(0.0, PRIOR_DEVIATION)
    mean, deviation = non_matching_stats((sample @ query.astype(np.float32)).astype(np.float64))
    shrunk = math.sqrt((count * deviation**2 + PRIOR_COUNT * PRIOR_DEVIATION**2) / (count + PRIOR_COUNT))
    return Background(mean, shrunk, count)


def non_matching_stats(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of those `values` (n,), n > 0, that do not fit: the lower of two groups, else the bulk of all."""
    ordered = np.sort(values)
    lower = _lower_group_size(ordered)
    if lower == 0:
        return robust_stats(ordered)
    mean, deviation = robust_stats(ordered[:lower])
    return mean, max(deviation, float(np.std(ordered)) / 4)


def _lower_group_size(ordered: NDArray[np.float64]) -> int:
    """How many of the sorted values (n,) form the lower of two groups; 0 where they are one group."""
    count = len(ordered)
    least = max(MIN_GROUP_SIZE, math.ceil(MIN_GROUP_SHARE * count))
    if count < 2 * least:
        return 0
    # Otsu's threshold: the cut whose two sides have the least squares in sum, from sums that begin at the middle value.
    shifted = ordered - ordered[count // 2]
    sums, squares = np.cumsum(shifted), np.cumsum(shifted**2)
    size = np.arange(1, count)
    below = squares[:-1] - sums[:-1] ** 2 / size
    above = (squares[-1] - squares[:-1]) - (sums[-1] - sums[:-1]) ** 2 / (count - size)
    cut = least + int(np.argmin((below + above)[least - 1 : count - least]))
    low, high = ordered[:cut], ordered[cut:]
    apart = float(np.mean(high) - np.mean(low))
    return cut if apart > MIN_GROUP_SEPARATION * math.sqrt((float(np.var(low)) + float(np.var(high))) / 2) else 0


def robust_stats(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of the bulk of `values` (n,), n > 0; what lies far away, up to almost half of them, is left out."""
    ordered = np.sort(values)
    count = len(ordered)
    half = count // 2 + 1
    # Means and variances of all runs of `half` neighbours, from sums that begin at the middle, where rounding is least.
    shifted = ordered - ordered[count // 2]
    sums, squares = (np.concatenate(([0.0], np.cumsum(power))) for power in (shifted, shifted**2))
    means = (sums[half:] - sums[:-half]) / half
    variances = (squares[half:] - squares[:-half]) / half - means**2
    least = int(np.argmin(variances))
    centre = means[least] + ordered[count // 2]
    reach = REACH_DEVIATIONS * math.sqrt(max(float(variances[least]), 0.0) * _HALF_VARIANCE_FACTOR)
    kept = ordered[np.abs(ordered - centre) <= reach + _ROUNDING]
    if len(kept) < half:
        kept = ordered[least : least + half]
    return float(np.mean(kept)), max(float(np.std(kept)) * _REACH_DEVIATION_FACTOR, float(np.std(ordered)) / 2)


def match_share(matches: int, total: int) -> float:
    """The chance that a picture matches, when `matches` of `of` pictures did; never 0 and never 1.

    One hit and one miss are added where there was none, so that a word nobody or everybody used stays finite.
    """
    return max(matches, 1) / (max(total, matches, 1) + 1)


def fulltext_z_scores(bm25: Mapping[int, float], share: float) -> tuple[dict[int, float], float]:
    """The z of each hit (bm25: greater is better) and the z of a miss, when `share` of the pictures match (0 to 1)."""
    worth = min(math.sqrt((1 - share) / share), FULLTEXT_CAP)
    best = max(bm25.values(), default=0.0)
    # Without ranking (too many hits for bm25) every hit is worth the same.
    z = {image_id: worth * (score / best if best > 0 else 1.0) for image_id, score in bm25.items()}
    return z, -min(math.sqrt(share / (1 - share)), FULLTEXT_CAP)


def fuse_z_scores(z: NDArray[np.float64], weights: Sequence[float], deviation: float = 1.0) -> NDArray[np.float64]:
    """Weighted Stouffer: scores (n,) of z-scores (parts, n), over the `deviation` that such sums have in the background."""
    squares = sum(weight * weight for weight in weights)
    if squares == 0:
        return np.zeros(z.shape[-1])
    fused: NDArray[np.float64] = np.asarray(weights, dtype=np.float64) @ z / (math.sqrt(squares) * deviation)
    return fused


def fused_deviation(z: NDArray[np.float64], weights: Sequence[float]) -> float:
    """The deviation, never below 1, of scores fused with `weights` over background pictures with the z-scores (n, terms)."""
    squares = sum(weight * weight for weight in weights)
    if len(weights) < 2 or len(z) == 0 or squares == 0:
        return 1.0
    _, deviation = non_matching_stats(z @ np.asarray(weights, dtype=np.float64))
    return max(1.0, deviation / math.sqrt(squares))
