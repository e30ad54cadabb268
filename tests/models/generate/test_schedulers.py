"""Schedulers made from names: every flag set afresh, noise levels that fall."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from indexd.generate.sampling.diffusers_schedulers import _BUILDERS, TrainedNoise, build_scheduler
from indexd_schemas.samplers import SAMPLERS, SamplerChoice, runs_in_diffusers

PAIRS = [
    (name, schedule)
    for name, one in SAMPLERS.items()
    if one.diffusers_schedules is not None
    for schedule in (None, *one.diffusers_schedules)
]


def test_every_sampler_of_the_table_can_be_built_and_no_other() -> None:
    assert set(_BUILDERS) == {name for name, one in SAMPLERS.items() if one.diffusers_schedules is not None}
    assert all(runs_in_diffusers(SamplerChoice(name, schedule)) for name, schedule in PAIRS)


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
@pytest.mark.parametrize(
    "noise", [TrainedNoise(), TrainedNoise(prediction_type="v_prediction", zero_terminal_snr=True)]
)
def test_time_steps_fall(name: str, schedule: str | None, noise: TrainedNoise) -> None:
    made = build_scheduler(SamplerChoice(name, schedule), noise)
    made.set_timesteps(8)
    steps = [float(step) for step in made.timesteps]
    # A sampler of second order visits a step twice, once rounded.
    assert all(later <= earlier + 1.0 for earlier, later in pairwise(steps))
    assert len(set(steps)) >= 8
    assert np.isfinite(steps).all()
    assert made.config.prediction_type == noise.prediction_type


def test_a_flag_of_one_render_does_not_reach_the_next() -> None:
    before = build_scheduler(SamplerChoice("dpmpp_2m", "normal"), TrainedNoise())
    build_scheduler(SamplerChoice("dpmpp_2m", "karras"), TrainedNoise()).set_timesteps(8)
    after = build_scheduler(SamplerChoice("dpmpp_2m", "normal"), TrainedNoise())
    for made in (before, after):
        made.set_timesteps(8)
    assert torch.equal(before.sigmas, after.sigmas)
    assert after.config.use_karras_sigmas is False


def test_karras_sigmas_are_those_of_the_paper() -> None:
    made = build_scheduler(SamplerChoice("euler", "karras"), TrainedNoise())
    made.set_timesteps(5)
    low, high = 0.02917, 14.6146
    ramp = np.linspace(0, 1, 5)
    expected = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    assert np.allclose(made.sigmas[:-1].numpy(), expected, rtol=1e-3)


def test_beta_is_spread_over_time_steps() -> None:
    """Time step t of 999 holds the share of the Beta(.6, .6) density that is its rank: checked by integrating it."""
    made = build_scheduler(SamplerChoice("euler", "beta"), TrainedNoise())
    made.set_timesteps(4)
    middles = (np.arange(1_000_000) + 0.5) / 1_000_000
    mass = np.cumsum((middles * (1 - middles)) ** -0.4)
    shares = [float(mass[min(999_999, int(float(step) / 999 * 1_000_000))] / mass[-1]) for step in made.timesteps]
    assert np.allclose(shares, [1.0, 0.75, 0.5, 0.25], atol=2e-3)
    assert float(made.sigmas[-1]) == 0.0


def test_noise_is_read_from_the_models_own_configuration() -> None:
    noise = TrainedNoise.from_config(
        {"beta_end": 0.02, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    )
    assert (noise.beta_start, noise.beta_end, noise.prediction_type) == (0.00085, 0.02, "v_prediction")
    assert noise.zero_terminal_snr
