"""Calibration and fusion of raw scores (cosine, bm25), so that weights are comparable across layers and searches.

**Vector layers.** A cosine becomes z = (cosine - mean) / deviation, where mean and deviation are those of images that do
*not* match. They are estimated from the cosines of a fixed background sample:

1. Otsu's threshold (IEEE Trans. SMC 9, 1979) splits the sample. If the means are at least MIN_GROUP_SEPARATION deviations
   apart (Ashman's D, Astronomical Journal 108, 1994) and each group has MIN_GROUP_SHARE of the sample and MIN_GROUP_SIZE
   images, only the lower group counts as non-matching. Otherwise the whole sample does.
2. The minimum covariance determinant in one dimension selects the bulk of those: the half with the lowest variance, then
   all values within 2.5 deviations of it (Rousseeuw and Leroy, Robust Regression and Outlier Detection, 1987). The result
   is an empirical null distribution (Efron, JASA 99, 2004).
3. The deviation is at least half of the plain deviation (a quarter with two groups), so that a batch of nearly equal
   images does not determine it.
4. The deviation is shrunk towards PRIOR_DEVIATION as if PRIOR_COUNT images with that spread had been observed, because a
   small library gives a poor estimate (conjugate estimate, Gelman et al., Bayesian Data Analysis, 3rd ed., 2.6).

**Full text.** bm25 has no absolute scale, so matching is treated as a Bernoulli variable with p = the share of images that
match. Standardised, a hit is worth sqrt((1 - p) / p) and a miss -sqrt(p / (1 - p)): a rare word counts much, a word in
every prompt nothing. The worth of a hit is limited to FULLTEXT_CAP and scaled by its bm25 over the best bm25.

**Fusion** is the weighted method of Stouffer (Stouffer 1949, Lipták 1958): sum(w z) / sqrt(sum(w^2)). Correlated layers
would count twice, so the sum is divided by its deviation over the background if that is above 1 (Strube, Psychological
Bulletin 97, 1985: combining dependent results). An image without a vector in a layer has z = 0 there.
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
# Consistency factors for a normal distribution: from the variance of the middle half to the variance of the whole, and
# from the deviation within REACH_DEVIATIONS to that of the whole (Croux and Haesbroeck, J. Multivariate Analysis 71, 1999).
_HALF_VARIANCE_FACTOR = 7.0101
_REACH_DEVIATION_FACTOR = 1.0476
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Background:
    """Mean and deviation of the cosines of non-matching images, estimated from a sample of `count` images."""

    mean: float
    deviation: float
    count: int = 0

    def z_scores(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return (cosines - self.mean) / self.deviation


def measure_background(sample: NDArray[np.float32], query: NDArray[np.float32]) -> Background:
    """Estimate from unit vectors: `sample` (n, dim) and `query` (dim,). n = 0 gives mean 0 and the prior deviation."""
    count = len(sample)
    if count == 0:
        return Background(0.0, PRIOR_DEVIATION)
    mean, deviation = non_matching_stats((sample @ query.astype(np.float32)).astype(np.float64))
    shrunk = math.sqrt((count * deviation**2 + PRIOR_COUNT * PRIOR_DEVIATION**2) / (count + PRIOR_COUNT))
    return Background(mean, shrunk, count)


def non_matching_stats(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of the bulk of the lower of two groups of `values` (n,), n > 0, or of all if there is one group."""
    ordered = np.sort(values)
    lower = _lower_group_size(ordered)
    if lower == 0:
        return robust_stats(ordered)
    mean, deviation = robust_stats(ordered[:lower])
    return mean, max(deviation, float(np.std(ordered)) / 4)


def _lower_group_size(ordered: NDArray[np.float64]) -> int:
    """The size of the lower of two groups of sorted values (n,); 0 if they form one group."""
    count = len(ordered)
    min_size = max(MIN_GROUP_SIZE, math.ceil(MIN_GROUP_SHARE * count))
    if count < 2 * min_size:
        return 0
    # Otsu's threshold: the cut with the lowest sum of squared deviations. Values are relative to the median, where the
    # rounding errors of cumulative sums are smallest.
    shifted = ordered - ordered[count // 2]
    sums, squares = np.cumsum(shifted), np.cumsum(shifted**2)
    size = np.arange(1, count)
    below = squares[:-1] - sums[:-1] ** 2 / size
    above = (squares[-1] - squares[:-1]) - (sums[-1] - sums[:-1]) ** 2 / (count - size)
    cut = min_size + int(np.argmin((below + above)[min_size - 1 : count - min_size]))
    low, high = ordered[:cut], ordered[cut:]
    separation = float(np.mean(high) - np.mean(low))
    return cut if separation > MIN_GROUP_SEPARATION * math.sqrt((float(np.var(low)) + float(np.var(high))) / 2) else 0


def robust_stats(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of `values` (n,), n > 0, without outliers; up to almost half of the values may be outliers."""
    ordered = np.sort(values)
    count = len(ordered)
    half = count // 2 + 1
    # Means and variances of all runs of `half` neighbours, relative to the median, where rounding errors are smallest.
    shifted = ordered - ordered[count // 2]
    sums, squares = (np.concatenate(([0.0], np.cumsum(power))) for power in (shifted, shifted**2))
    means = (sums[half:] - sums[:-half]) / half
    variances = (squares[half:] - squares[:-half]) / half - means**2
    start = int(np.argmin(variances))
    centre = means[start] + ordered[count // 2]
    reach = REACH_DEVIATIONS * math.sqrt(max(float(variances[start]), 0.0) * _HALF_VARIANCE_FACTOR)
    kept = ordered[np.abs(ordered - centre) <= reach + _ROUNDING]
    if len(kept) < half:
        kept = ordered[start : start + half]
    return float(np.mean(kept)), max(float(np.std(kept)) * _REACH_DEVIATION_FACTOR, float(np.std(ordered)) / 2)


def match_share(matches: int, total: int) -> float:
    """The estimated probability that an image matches, above 0 and below 1, when `matches` of `total` images match."""
    return max(matches, 1) / (max(total, matches, 1) + 1)


def fulltext_z_scores(bm25: Mapping[int, float], share: float) -> tuple[dict[int, float], float]:
    """The z-score of each hit (a higher bm25 is better) and that of a miss, when `share` (0 to 1) of the images match."""
    worth = min(math.sqrt((1 - share) / share), FULLTEXT_CAP)
    best = max(bm25.values(), default=0.0)
    # Too many hits are not ranked: then bm25 is 0, and every hit is worth the same.
    z = {image_id: worth * (score / best if best > 0 else 1.0) for image_id, score in bm25.items()}
    return z, -min(math.sqrt(share / (1 - share)), FULLTEXT_CAP)


def fuse_z_scores(z: NDArray[np.float64], weights: Sequence[float], deviation: float = 1.0) -> NDArray[np.float64]:
    """Scores (n,) from z-scores (terms, n) by the weighted method of Stouffer, divided by `deviation`."""
    squares = sum(weight * weight for weight in weights)
    if squares == 0:
        return np.zeros(z.shape[-1])
    fused: NDArray[np.float64] = np.asarray(weights, dtype=np.float64) @ z / (math.sqrt(squares) * deviation)
    return fused


def fused_deviation(z: NDArray[np.float64], weights: Sequence[float]) -> float:
    """The deviation, at least 1, of the scores fused with `weights` from z-scores (n, terms) of background images."""
    squares = sum(weight * weight for weight in weights)
    if len(weights) < 2 or len(z) == 0 or squares == 0:
        return 1.0
    _, deviation = non_matching_stats(z @ np.asarray(weights, dtype=np.float64))
    return max(1.0, deviation / math.sqrt(squares))
