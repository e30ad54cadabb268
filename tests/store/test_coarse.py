"""The coarse codes: a true rotation, the same everywhere, and near things near."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from indexd.store.coarse import ROTATION_SEED, aim_at, code_bits, encode, estimates, rotation
from tests.store.made_up import unit_vectors


@pytest.mark.parametrize("dim", [1, 7, 32, 96])
def test_the_rotation_keeps_every_angle(dim: int) -> None:
    turned = np.eye(dim, dtype=np.float32)
    for turn in rotation(ROTATION_SEED, dim):
        turned = turn.apply(turned)
    turned = turned.astype(np.float64)
    assert np.abs(turned @ turned.T - np.eye(dim)).max() < 1e-6


@pytest.mark.parametrize("dim", [64, 96])
def test_what_lies_in_one_direction_is_spread_over_all(dim: int) -> None:
    turned = np.eye(dim, dtype=np.float32)
    for turn in rotation(ROTATION_SEED, dim):
        turned = turn.apply(turned)
    assert np.abs(turned).max() < 6 / dim**0.5


def test_codes_never_change() -> None:
    """Codes are stored: a change of this figure means that every index must be recoded by a migration."""
    vectors = np.random.RandomState(5).standard_normal((40, 24)).astype(np.float32)
    assert hashlib.sha256(encode(vectors, None, ROTATION_SEED).tobytes()).hexdigest()[:16] == "91b05c572b0dfebf"


def test_a_code_is_whole_bytes_and_the_odd_bits_are_alike() -> None:
    codes = encode(unit_vectors(10, 20), None, ROTATION_SEED)
    assert codes.shape == (10, 3)
    assert code_bits(20) == 24
    assert not (codes[:, -1] & 0x0F).any()


def test_in_a_cone_the_mean_makes_the_bits_tell_things_apart() -> None:
    vectors = unit_vectors(400, 64)
    bits = np.unpackbits(encode(vectors, None, ROTATION_SEED), axis=1).mean(axis=0)
    centred = np.unpackbits(encode(vectors, vectors.mean(axis=0), ROTATION_SEED), axis=1).mean(axis=0)
    assert np.abs(centred - 0.5).mean() < np.abs(bits - 0.5).mean() / 3


def test_nearness_survives_in_the_bits() -> None:
    vectors = unit_vectors(2000, 128)
    mean = vectors.mean(axis=0)
    codes = encode(vectors, mean, ROTATION_SEED).view(np.uint64)
    kept = 0
    for at in range(20):
        truth = set(np.argsort(-(vectors @ vectors[at]))[:10])
        hamming = np.bitwise_count(codes ^ codes[at]).sum(axis=1)
        kept += len(truth & set(np.argsort(hamming, kind="stable")[:200]))
    assert kept >= 0.93 * 200


def test_estimates_rank_better_than_two_codes_compared() -> None:
    vectors = unit_vectors(2000, 128)
    mean = vectors.mean(axis=0)
    codes = encode(vectors, mean, ROTATION_SEED)
    by_code = by_estimate = 0
    for at in range(20):
        aim = aim_at(vectors[at], mean, ROTATION_SEED)
        truth = set(np.argsort(-(vectors @ vectors[at]))[:10])
        hamming = np.bitwise_count(codes ^ aim.code).sum(axis=1)
        by_code += len(truth & set(np.argsort(hamming, kind="stable")[:40]))
        by_estimate += len(truth & set(np.argsort(-estimates(codes, aim), kind="stable")[:40]))
    assert by_estimate > by_code


def test_the_odd_bits_of_a_code_say_nothing() -> None:
    vectors = unit_vectors(50, 20)
    aim = aim_at(vectors[0], None, ROTATION_SEED)
    bits = np.unpackbits(encode(vectors, None, ROTATION_SEED), axis=1)[:, :20]
    assert np.allclose(estimates(encode(vectors, None, ROTATION_SEED), aim), bits @ aim.turned, atol=1e-5)
