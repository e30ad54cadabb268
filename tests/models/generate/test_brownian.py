"""The noise of one picture: fixed by its seed, one path, the right spread."""

from __future__ import annotations

import math

import pytest
import torch

from indexd.generate.sampling.noise_source import seeded_generator
from indexd.generate.sampling.sampling_noise import BrownianNoise, IndependentNoise, TorchNormals

LIKE = torch.zeros(1, 4, 50, 50)


def path(seed: int, like: torch.Tensor = LIKE) -> BrownianNoise:
    return BrownianNoise(seeded_generator(seed), like, 0.01, 15.0)


def test_a_seed_fixes_the_path_whatever_was_asked_before() -> None:
    one, other = path(1), path(1)
    other(14.0, 3.0)
    other(0.7, 0.1)
    for _ in range(100):
        other(2.0, 2.0 - _ / 100 - 0.001)
    assert torch.equal(one(5.0, 2.0), other(5.0, 2.0))
    assert torch.equal(one(5.0, 2.0), one(5.0, 2.0))
    assert not torch.equal(path(2)(5.0, 2.0), one(5.0, 2.0))


def test_steps_add_up_to_the_whole_way() -> None:
    noise = path(3)
    ways = [noise(high, low) * math.sqrt(high - low) for high, low in ((8.0, 3.0), (3.0, 1.0), (8.0, 1.0))]
    assert torch.allclose(ways[0] + ways[1], ways[2], atol=2e-3)


@pytest.mark.parametrize(("high", "low"), [(15.0, 7.0), (7.0, 6.99), (0.05, 0.03), (1.0, 0.02), (0.5, 0.499999)])
def test_increments_have_unit_spread(high: float, low: float) -> None:
    drawn = path(4)(high, low)
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.03)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.03)


def test_ways_apart_are_independent() -> None:
    noise = path(5)
    one, other = noise(10.0, 5.0).flatten(), noise(5.0, 1.0).flatten()
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.03


def test_levels_outside_are_those_at_the_ends() -> None:
    assert torch.isfinite(path(6)(20.0, 0.001)).all()
    assert torch.isfinite(path(6)(0.001, 0.0005)).all()
    assert torch.isfinite(path(6)(30.0, 20.0)).all()


def test_fresh_noise_follows_the_generator() -> None:
    noise = IndependentNoise(TorchNormals(seeded_generator(1)), LIKE)
    expected = torch.randn(LIKE.shape, generator=seeded_generator(1))
    assert torch.equal(noise(5.0, 2.0), expected)
    assert not torch.equal(noise(5.0, 2.0), expected)
