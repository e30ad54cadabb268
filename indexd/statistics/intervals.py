"""Shares and means from few pictures, with what can honestly be said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""The standard normal quantile that leaves 2.5 % on each side."""
PRIOR_IMAGES = 5.0
"""How many pictures of average rating a value is believed to have had before the first was rated."""


def wilson_interval(hits: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The interval for a share, of `hits` among `of`. Nothing known: (0, 1).

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Unlike the textbook
    interval p ± z·sqrt(p(1-p)/n) it holds for small counts and for shares near 0 and 1 (Brown, Cai and DasGupta, 2001).
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
    """The mean of ratings counted by stars, from one star on; None when nothing is rated."""
    rated = sum(stars)
    return sum(worth * count for worth, count in enumerate(stars, 1)) / rated if rated else None


def shrunk_rating(stars: Sequence[int], mean_of_all: float, prior: float = PRIOR_IMAGES) -> float:
    """The mean drawn towards that of all: `(prior · mean_of_all + sum) / (prior + n)`.

    The posterior mean of a normal mean under a normal prior that weighs as much as `prior` pictures (Gelman et al.,
    Bayesian Data Analysis, 2.5): one lucky picture does not put its model first.
    """
    total = sum(worth * count for worth, count in enumerate(stars, 1))
    return (prior * mean_of_all + total) / (prior + sum(stars))
