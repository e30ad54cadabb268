"""What codes tell of cosines: right on the whole, with the noise that is said, and better for more bits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.vector_index.code_scan import hamming_distances, refine
from indexd.vector_index.estimate import CoarseEstimator, QueryCode, encode_query
from indexd.vector_index.quantize import ROTATION_SEED, quantize, rotate, split_codes
from tests.unit.store.sample_rows import unit_vectors

Floats = NDArray[np.float32]

DIM, COUNT = 256, 3000


def _questions(vectors: Floats) -> dict[str, Floats]:
    """One from within the cone, and one that lies as far from every vector as a text from pictures."""
    aside = np.random.default_rng(3).standard_normal((vectors.shape[1],)).astype(np.float32)
    text = 0.4 * (vectors[5] - vectors.mean(axis=0)) + aside / np.linalg.norm(aside)
    return {"picture": vectors[5], "text": (text / np.linalg.norm(text)).astype(np.float32)}


def _rough(aim: QueryCode, vectors: Floats, mean: Floats | None, size: int) -> Floats:
    signs, lengths = split_codes(quantize(vectors, mean, ROTATION_SEED))
    leading = np.ascontiguousarray(signs[:, :size])
    distances = hamming_distances(
        np.ascontiguousarray(aim.bit_planes[:1, :size]), leading, np.empty((1, len(signs)), np.int32)
    )[0]
    return CoarseEstimator(aim, min(8 * size, aim.dim)).estimates(distances, lengths)


@pytest.mark.parametrize("kind", ["picture", "text"])
@pytest.mark.parametrize("dim", [DIM, 60])
@pytest.mark.parametrize("centred", [True, False])
def test_estimates_are_the_cosines_but_for_the_noise_they_name(kind: str, dim: int, centred: bool) -> None:
    vectors = unit_vectors(COUNT, dim)
    mean = vectors.mean(axis=0) if centred else None
    question = _questions(vectors)[kind]
    aim = encode_query(question, mean, ROTATION_SEED)
    signs, lengths = split_codes(quantize(vectors, mean, ROTATION_SEED))
    cosines = vectors @ question
    for estimates, noise in (
        (refine(aim, signs, lengths), aim.fine_noise_std()),
        (_rough(aim, vectors, mean, len(signs[0])), CoarseEstimator(aim, dim).noise_std),
    ):
        off = (estimates - cosines) / (lengths * noise)
        # Without the mean all vectors lie on one side, and so what is wrong of one is wrong of all.
        assert abs(float(off.mean())) < (0.5 if centred else 1.0)
        assert float(off.std()) < 1.3


def test_finer_estimates_rank_better_and_the_length_is_worth_as_much_as_bits() -> None:
    """Asked as texts ask: half of what they mean is in no picture."""
    vectors = unit_vectors(COUNT, DIM)
    mean = vectors.mean(axis=0)
    signs, lengths = split_codes(quantize(vectors, mean, ROTATION_SEED))
    asides = np.random.default_rng(4).standard_normal((20, DIM)).astype(np.float32)
    kept = dict.fromkeys(("without lengths", "rough", "fine"), 0)
    for at, aside in enumerate(asides):
        meant = vectors[at] - mean
        question = meant / np.linalg.norm(meant) + aside / np.linalg.norm(aside)
        question /= np.linalg.norm(question)
        aim = encode_query(question, mean, ROTATION_SEED)
        truth = set(np.argsort(-(vectors @ question))[:20].tolist())
        for name, estimates in {
            "without lengths": -np.bitwise_count(signs ^ aim.bit_planes[0]).sum(axis=1).astype(np.float32),
            "rough": _rough(aim, vectors, mean, DIM // 8),
            "fine": refine(aim, signs, lengths),
        }.items():
            kept[name] += len(truth & set(np.argsort(-estimates, kind="stable")[:40].tolist()))
    assert kept["without lengths"] < kept["rough"] < kept["fine"]


def test_four_bits_a_number_are_the_question() -> None:
    vectors = unit_vectors(50, 96)
    mean = vectors.mean(axis=0)
    question = vectors[3]
    aim = encode_query(question, mean, ROTATION_SEED)
    worths = np.array([8, 4, 2, 1])
    numbers = aim.step / 2 * (worths @ (np.unpackbits(aim.bit_planes, axis=1)[:, :96] * 2.0 - 1))
    rest = rotate((question - np.float32(aim.mean_share) * mean)[None, :], ROTATION_SEED)[0]
    assert np.abs(numbers - rest).max() <= aim.step / 2 + 1e-6
    assert aim.norm == pytest.approx(np.linalg.norm(rest), rel=1e-5)
    assert np.array_equal(np.unpackbits(aim.bit_planes[0])[:96] == 1, rest >= 0)


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_nothing_beyond_the_farthest_distance_has_the_estimate(kind: str) -> None:
    vectors = unit_vectors(COUNT, DIM)
    mean = vectors.mean(axis=0)
    rough = CoarseEstimator(encode_query(_questions(vectors)[kind], mean, ROTATION_SEED), DIM)
    distances = np.arange(DIM + 1, dtype=np.int32)
    for least in (-0.5, 0.0, 0.2, 0.5, 0.9, 2.0):
        reached = [
            int(distances[rough.estimates(distances, np.full(DIM + 1, length, np.float32)) >= least].max(initial=-1))
            for length in np.linspace(0.3, 1.2, 91)
        ]
        assert max(reached) <= rough.max_distance(least, 0.3, 1.2) <= max(reached) + 1


def test_a_question_that_is_the_mean_itself_has_an_aim() -> None:
    mean = unit_vectors(50, 32).mean(axis=0)
    aim = encode_query(mean / np.linalg.norm(mean), mean, ROTATION_SEED)
    assert aim.norm < 1e-5
    signs, lengths = split_codes(quantize(unit_vectors(50, 32), mean, ROTATION_SEED))
    exact = unit_vectors(50, 32) @ (mean / np.linalg.norm(mean))
    assert refine(aim, signs, lengths) == pytest.approx(exact, abs=1e-4)
