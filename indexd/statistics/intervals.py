"""Confidence intervals of shares and shrunk means, for small samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""The standard normal quantile that leaves 2.5 % on each side."""
PRIOR_IMAGES = 5.0
"""Weight of the prior of `shrunk_rating`, in images with the mean rating."""


def wilson_interval(hits: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The confidence interval of the share `hits` / `total`; (0, 1) if `total` is 0.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Unlike the normal
    approximation p ± z·sqrt(p(1-p)/n), it is valid for small counts and for shares near 0 and 1 (Brown, Cai and DasGupta, 2001).
    """
    if total <= 0:
        return 0.0, 1.0
    share = hits / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    middle, scale = share + z * z / (2 * total), 1 + z * z / total
    low = 0.0 if hits == 0 else (middle - spread) / scale
    high = 1.0 if hits == total else (middle + spread) / scale
    return low, high


def mean_rating(stars: Sequence[int]) -> float | None:
    """The mean rating; `stars` counts the images with one star, two stars and so on. None without ratings."""
    rated = sum(stars)
    return sum(rating * count for rating, count in enumerate(stars, 1)) / rated if rated else None


def shrunk_rating(stars: Sequence[int], mean_of_all: float, prior: float = PRIOR_IMAGES) -> float:
    """The mean rating, shrunk towards that of all images: `(prior · mean_of_all + sum) / (prior + n)`.

    This is the posterior mean under a normal prior with the weight of `prior` images (Gelman et al., Bayesian Data
    Analysis, 2.5), so a value with a single good image does not rank first.
    """
    total = sum(rating * count for rating, count in enumerate(stars, 1))
    return (prior * mean_of_all + total) / (prior + sum(stars))
