"""The coarse codes: a true rotation, the same everywhere, and near things near."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from indexd.vector_index.quantize import ROTATION_SEED, code_bytes, quantize, rotate, rotation_rounds, split_codes
from tests.unit.store.sample_rows import unit_vectors


@pytest.mark.parametrize("dim", [1, 7, 32, 96])
def test_the_rotation_keeps_every_angle(dim: int) -> None:
    turned = np.eye(dim, dtype=np.float32)
    for turn in rotation_rounds(ROTATION_SEED, dim):
        turned = turn.apply(turned)
    turned = turned.astype(np.float64)
    assert np.abs(turned @ turned.T - np.eye(dim)).max() < 1e-6


@pytest.mark.parametrize("dim", [64, 96])
def test_what_lies_in_one_direction_is_spread_over_all(dim: int) -> None:
    turned = np.eye(dim, dtype=np.float32)
    for turn in rotation_rounds(ROTATION_SEED, dim):
        turned = turn.apply(turned)
    assert np.abs(turned).max() < 6 / dim**0.5


def test_codes_never_change() -> None:
    """Codes are stored: a change of this figure means that every index must be recoded by a migration."""
    vectors = np.random.RandomState(5).standard_normal((40, 24)).astype(np.float32)
    assert hashlib.sha256(quantize(vectors, None, ROTATION_SEED).tobytes()).hexdigest()[:16] == "996a9b693df306f9"


def test_a_code_is_whole_bytes_of_signs_and_a_length() -> None:
    vectors = unit_vectors(10, 20)
    mean = vectors.mean(axis=0)
    codes = quantize(vectors, mean, ROTATION_SEED)
    assert codes.shape == (10, 7)
    assert code_bytes(20) == 7
    signs, lengths = split_codes(codes)
    assert signs.tolist() == np.packbits(rotate(vectors - mean, ROTATION_SEED) > 0, axis=1).tolist()
    assert not (signs[:, -1] & 0x0F).any()
    assert lengths == pytest.approx(np.linalg.norm(vectors - mean, axis=1), rel=1e-6)


def test_in_a_cone_the_mean_makes_the_bits_tell_things_apart() -> None:
    vectors = unit_vectors(400, 64)
    plain, centred = (
        np.unpackbits(split_codes(quantize(vectors, mean, ROTATION_SEED))[0], axis=1).mean(axis=0)
        for mean in (None, vectors.mean(axis=0))
    )
    assert np.abs(centred - 0.5).mean() < np.abs(plain - 0.5).mean() / 3


def test_nearness_survives_in_the_bits() -> None:
    vectors = unit_vectors(2000, 128)
    signs = split_codes(quantize(vectors, vectors.mean(axis=0), ROTATION_SEED))[0].view(np.uint64)
    kept = 0
    for at in range(20):
        truth = set(np.argsort(-(vectors @ vectors[at]))[:10])
        hamming = np.bitwise_count(signs ^ signs[at]).sum(axis=1)
        kept += len(truth & set(np.argsort(hamming, kind="stable")[:200]))
    assert kept >= 0.93 * 200
