"""Intervals and means against values from the literature and against chance itself."""

from __future__ import annotations

import numpy as np
import pytest

from indexd.statistics.statistics_report import mean_rating, shrunk_rating, wilson_interval


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_the_interval_is_that_of_the_literature(hits: int, of: int, low: float, high: float) -> None:
    assert wilson_interval(hits, of) == pytest.approx((low, high), abs=5e-5)


def test_nothing_known_is_everything_possible() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(5)
    for share in (0.1, 0.5, 0.9):
        drawn = chance.binomial(30, share, 2000)
        covered = sum(low <= share <= high for low, high in (wilson_interval(int(hits), 30) for hits in drawn))
        assert 0.92 <= covered / 2000 <= 0.99


def test_a_mean_of_few_is_drawn_to_that_of_all() -> None:
    assert mean_rating((0, 0, 0, 0, 0)) is None
    assert mean_rating((1, 0, 0, 0, 1)) == 3.0
    assert shrunk_rating((0, 0, 0, 0, 1), 3.0) == pytest.approx((5 * 3.0 + 5) / 6)
    assert shrunk_rating((0, 0, 0, 0, 1000), 3.0) > 4.98
