"""Schedules against numbers worked out by hand from their formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from indexd.generate.sampling.diffusers_schedulers import TrainedNoise, build_scheduler
from indexd.generate.sampling.noise_levels import noise_levels_for
from indexd.generate.sampling.sigma_schedules import SCHEDULE_FUNCTIONS, build_sigmas
from indexd_schemas.samplers import SCHEDULES, SamplerChoice

LEVELS = noise_levels_for(TrainedNoise())
LOW, HIGH = 0.0291675, 14.614647


def test_the_levels_are_the_trained_ones() -> None:
    """The betas of SDXL: squares of equal distances from the roots of 0.00085 to 0.012."""
    kept = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    assert np.allclose(LEVELS.sigmas, np.sqrt((1 - kept) / kept), rtol=1e-4)
    assert [LEVELS.sigma_min, LEVELS.sigma_max] == pytest.approx([LOW, HIGH], rel=1e-4)
    assert LEVELS.timestep(LEVELS.sigma_max) == pytest.approx(999)
    assert LEVELS.sigma(LEVELS.timestep(1.234)) == pytest.approx(1.234)
    assert LEVELS.timestep(1e-3) == 0.0


def test_a_model_without_signal_at_its_end_has_a_finite_highest_level() -> None:
    levels = noise_levels_for(TrainedNoise(zero_terminal_snr=True))
    assert levels.sigma_max == pytest.approx(4096, rel=1e-3)
    assert all(earlier < later for earlier, later in pairwise(levels.sigmas))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 11, 30, 100])
def test_levels_fall_to_zero(name: str, steps: int) -> None:
    spread = build_sigmas(name, LEVELS, steps)
    assert len(spread) == steps + 1
    assert spread[-1] == 0
    assert all(later < earlier for earlier, later in pairwise(spread))
    assert spread[0] <= HIGH * 1.001
    shorter = build_sigmas(name, LEVELS, steps, discard_penultimate=True)
    assert len(shorter) == steps + 1
    assert shorter[:-1] == pytest.approx(SCHEDULE_FUNCTIONS[name](LEVELS, steps + 1)[:-1])


def at(timestep: int) -> float:
    return float(LEVELS.sigmas[timestep])


WORKED = {
    "normal": [at(999), at(666), at(333), at(0)],
    "sgm_uniform": [at(999), LEVELS.sigma(749.25), LEVELS.sigma(499.5), LEVELS.sigma(249.75)],
    "simple": [at(999), at(749), at(499), at(249)],
    "turbo": [at(999), at(749), at(499), at(249)],
    "ddim_uniform": [at(751), at(501), at(251), at(1)],
    # (14.614647^(1/7) + i/3 (0.0291675^(1/7) - 14.614647^(1/7)))^7 with roots 1.46689 and 0.60353
    "karras": [14.6146, 3.1685, 0.44693, 0.029167],
    # the ratio of neighbours is (14.614647 / 0.0291675)^(1/3) = 7.9427
    "exponential": [14.6146, 1.8400, 0.23166, 0.029167],
    "polyexponential": [14.6146, 1.8400, 0.23166, 0.029167],
    # atan(14.614647) = 1.502478, atan(0.0291675) = 0.029159; thirds between: 1.011372 and 0.520265
    "kl_optimal": [14.6146, 1.5995, 0.57290, 0.029167],
    # 1, 1 - 0.0125, 1 - 0.025, then the parabola: 0.975 - 0.0125 - 0.2375 * 1
    "linear_quadratic": [14.6146, 14.6146 * 0.9875, 14.6146 * 0.975, 14.6146 * 0.725],
    # at thirds of the table's logarithms: places 0, 3 1/3, 6 2/3, 10
    "align_your_steps": [14.615, 1.8551, 0.43116, 0.029],
    "align_your_steps_gits": [14.615, 1.3214, 0.31078, 0.029],
}


@pytest.mark.parametrize(("name", "levels"), WORKED.items())
def test_four_steps_are_the_worked_out_levels(name: str, levels: list[float]) -> None:
    assert list(build_sigmas(name, LEVELS, 4)[:-1]) == pytest.approx(levels, rel=2e-3)


def test_the_tables_are_met_at_their_own_number_of_steps() -> None:
    assert build_sigmas("align_your_steps", LEVELS, 11)[1:3] == pytest.approx((6.315, 3.771))
    assert build_sigmas("align_your_steps_11", LEVELS, 11) == build_sigmas("align_your_steps", LEVELS, 11)
    assert build_sigmas("align_your_steps_32", LEVELS, 32)[1] == pytest.approx(11.1491618)
    assert build_sigmas("align_your_steps_32", LEVELS, 32)[-2] == pytest.approx(0.015)


@pytest.mark.parametrize("name", ["normal", "karras", "exponential", "beta", "simple"])
def test_they_are_those_of_the_schedulers_of_diffusers(name: str) -> None:
    made = build_scheduler(SamplerChoice("euler", name), TrainedNoise())
    made.set_timesteps(10)
    assert build_sigmas(name, LEVELS, 10) == pytest.approx(made.sigmas.tolist(), rel=2e-3)


def test_every_schedule_of_the_table_has_a_formula() -> None:
    assert set(SCHEDULE_FUNCTIONS) == set(SCHEDULES)
    assert math.isclose(LEVELS.sigma_at_share(0.0), LEVELS.sigma_max)
