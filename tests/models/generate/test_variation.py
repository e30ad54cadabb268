"""A second noise mixed into the first."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from indexd.generate.sampling.noise_source import seeded_generator, slerp_noise
from tests.models.generate.conftest import recipe_data


def unit(seed: int) -> torch.Tensor:
    return torch.randn((1, 4, 16, 16), generator=seeded_generator(seed))


def test_the_ends_are_the_two_noises() -> None:
    assert torch.allclose(slerp_noise(unit(1), unit(2), 0.0), unit(1), atol=1e-6)
    assert torch.allclose(slerp_noise(unit(1), unit(2), 1.0), unit(2), atol=1e-6)


def test_a_right_angle_is_halved() -> None:
    first = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1)
    second = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    assert torch.allclose(slerp_noise(first, second, 0.5).flatten(), torch.full((2,), 0.5**0.5))


def test_the_strength_of_the_noise_stays() -> None:
    for share in (0.25, 0.5, 0.75):
        assert float(slerp_noise(unit(1), unit(2), share).std()) == pytest.approx(1.0, abs=0.05)


def test_equal_noises_stay() -> None:
    assert torch.allclose(slerp_noise(unit(1), unit(1), 0.4), unit(1))


def test_pictures_vary_with_seed_and_strength(studio: Any) -> None:
    plain = studio(steps=2)
    assert studio(steps=2, variation={"seed": 5, "strength": 0.0}).recipe.seed == 7
    assert studio(steps=2, variation={"seed": 7, "strength": 0.5}).recipe.variation.seed == 7
    varied = studio(steps=2, variation={"seed": 5, "strength": 0.2})
    assert varied.encoded not in (plain.encoded, studio(steps=2, variation={"seed": 6, "strength": 0.2}).encoded)
    assert b"Variation seed: 5, Variation seed strength: 0.2" in varied.encoded
    assert studio(**recipe_data(varied)).encoded == varied.encoded
