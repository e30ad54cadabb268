"""The guarantees of calibrated scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.search.ranking.calibration import (
    FULLTEXT_CAP,
    PRIOR_DEVIATION,
    Background,
    fulltext_z_scores,
    fuse_z_scores,
    fused_deviation,
    match_share,
    measure_background,
    non_matching_stats,
    robust_stats,
)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def z_of(scale: Background, cosine: float) -> float:
    return float(scale.z_scores(np.array([cosine]))[0])


def test_scores_of_random_images_have_mean_zero_and_deviation_one() -> None:
    chance = np.random.default_rng(1)
    # A narrow cone, as real CLIP vectors lie in: mean cosine far from 0.
    library = unit(chance.normal(size=(4000, 64)) + 2.0)
    query = unit(chance.normal(size=64) + 2.0)
    scale = measure_background(library[:1000], query)
    z = scale.z_scores((library[1000:] @ query).astype(np.float64))
    assert abs(z.mean()) < 0.15
    assert 0.85 < z.std() < 1.15


def test_equal_similarity_scores_equal_in_layers_of_different_spread() -> None:
    shape = np.random.default_rng(2).normal(size=(1000, 1))
    query = np.ones(1, dtype=np.float32)
    narrow = measure_background((0.72 + 0.02 * shape).astype(np.float32), query)
    wide = measure_background((0.50 + 0.20 * shape).astype(np.float32), query)
    assert z_of(narrow, 0.72 + 4 * 0.02) == pytest.approx(z_of(wide, 0.50 + 4 * 0.20), rel=0.05)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.85])
def test_a_match_scores_alike_whatever_share_of_the_library_matches(share: float) -> None:
    chance = np.random.default_rng(3)
    fitting = round(1000 * share)
    values = np.concatenate([chance.normal(size=1000 - fitting), chance.normal(size=fitting) + 6])
    mean, deviation = non_matching_stats(values)
    assert 4.5 < (6 - mean) / deviation < 6.5
    assert (6 - values.mean()) / values.std() < (6 - mean) / deviation


def test_the_bulk_of_normal_values_is_their_mean_and_deviation() -> None:
    values = np.random.default_rng(4).normal(5, 2, size=5000)
    mean, deviation = robust_stats(values)
    assert mean == pytest.approx(5, abs=0.1)
    assert deviation == pytest.approx(2, rel=0.05)


def test_a_few_values_form_no_separate_group() -> None:
    values = np.array([0.0, 0.01, 0.02, 0.9, 0.91, 0.92])
    assert non_matching_stats(values) == robust_stats(values)


def test_a_few_low_outliers_do_not_make_the_others_match() -> None:
    chance = np.random.default_rng(9)
    values = np.concatenate([chance.normal(size=950), chance.normal(size=50) - 8])
    assert non_matching_stats(values)[0] == pytest.approx(0, abs=0.1)


def test_a_batch_of_equal_images_does_not_calibrate_the_others() -> None:
    # Six in ten pictures were made with the very same prompt.
    values = np.concatenate([np.full(600, 0.5), np.random.default_rng(5).normal(0.5, 0.1, size=400)])
    assert robust_stats(values)[1] == pytest.approx(values.std() / 2)
    assert robust_stats(np.full(7, 0.25)) == (0.25, 0.0)


def test_correlated_layers_do_not_count_twice() -> None:
    one = np.random.default_rng(6).normal(size=(2000, 1))
    same, independent = np.hstack([one, one]), np.random.default_rng(7).normal(size=(2000, 2))
    assert fused_deviation(same, [1.0, 1.0]) == pytest.approx(math.sqrt(2), rel=0.05)
    assert fuse_z_scores(np.array([[3.0], [3.0]]), [1.0, 1.0], fused_deviation(same, [1.0, 1.0])) == pytest.approx(
        [3.0], rel=0.05
    )
    assert fused_deviation(independent, [1.0, 1.0]) == pytest.approx(1.0, abs=0.05)
    assert fused_deviation(same, [1.0, -1.0]) == 1.0
    assert fused_deviation(one, [2.0]) == 1.0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_tiny_library_gives_finite_scores_in_the_order_of_the_cosines(count: int) -> None:
    sample = np.full((count, 4), 0.5, np.float32) if count else np.empty((0, 0), np.float32)
    scale = measure_background(sample, np.array([1, 0, 0, 0], dtype=np.float32))
    assert 0 < scale.deviation <= PRIOR_DEVIATION
    assert z_of(scale, 0.9) > z_of(scale, 0.5)


def test_a_rare_word_scores_higher_than_a_common_one() -> None:
    rare, rare_miss = fulltext_z_scores({1: 3.0}, match_share(1, 10_000))
    common, common_miss = fulltext_z_scores(dict.fromkeys(range(5000), 0.0), match_share(5000, 10_000))
    everywhere, _ = fulltext_z_scores(dict.fromkeys(range(100), 0.0), match_share(100, 100))
    assert rare[1] == FULLTEXT_CAP
    assert common[7] == pytest.approx(1.0, abs=0.01)
    assert everywhere[7] < 0.2
    assert -0.02 < rare_miss < 0
    assert common_miss == pytest.approx(-1.0, abs=0.01)


def test_bm25_orders_the_hits() -> None:
    scores, miss = fulltext_z_scores({1: 4.0, 2: 2.0}, match_share(2, 100))
    assert scores[1] == pytest.approx(2 * scores[2])
    assert scores[2] > miss


def test_fusion_is_stouffers_method() -> None:
    assert fuse_z_scores(np.array([[2.0]]), [1.0]) == [2.0]
    assert fuse_z_scores(np.array([[2.0]]), [5.0]) == [2.0]
    assert fuse_z_scores(np.array([[2.0], [2.0]]), [1.0, 1.0]) == pytest.approx([4 / math.sqrt(2)])
    assert fuse_z_scores(np.array([[3.0], [3.0]]), [1.0, -1.0]) == [0.0]
    assert fuse_z_scores(np.array([[3.0, 1.0]]), [0.0]).tolist() == [0.0, 0.0]
