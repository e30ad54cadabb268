"""Schedules against numbers worked out by hand from their formulas, and against levels measured in ComfyUI and A1111."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from diffusers import DDIMScheduler

from indexd.generate.sampling.noise_levels import EdmLevels, TrainedNoise, noise_levels_for
from indexd.generate.sampling.sigma_schedules import SCHEDULE_FUNCTIONS, build_pass_sigmas, build_sigmas
from indexd_schemas.samplers import SCHEDULES
from tests.models.generate.diffusers_reference import diffusers_scheduler

LEVELS = noise_levels_for(TrainedNoise())
LOW, HIGH = 0.0291675, 14.614647


def test_the_levels_are_the_trained_ones() -> None:
    """The betas of SDXL: squares of equal distances from the roots of 0.00085 to 0.012."""
    kept = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    assert np.allclose(LEVELS.sigmas, np.sqrt((1 - kept) / kept), rtol=1e-4)
    assert [LEVELS.sigma_min, LEVELS.sigma_max] == pytest.approx([LOW, HIGH], rel=1e-4)
    assert LEVELS.timestep(LEVELS.sigma_max) == pytest.approx(999)
    assert LEVELS.sigma_at_share(LEVELS.time_share(1.234)) == pytest.approx(1.234)
    assert LEVELS.timestep(1e-3) == 0.0


def test_zero_terminal_snr_has_the_highest_level_of_comfyui_and_a1111() -> None:
    levels = noise_levels_for(TrainedNoise(zero_terminal_snr=True))
    assert levels.sigma_max == pytest.approx(4518.76, rel=1e-5)
    assert levels.sigma_min == pytest.approx(LOW, rel=1e-4)
    assert all(earlier < later for earlier, later in pairwise(levels.sigmas))


def test_an_edm_model_has_continuous_levels() -> None:
    levels = noise_levels_for(TrainedNoise(edm_sigmas=(0.002, 120.0), sigma_data=1.0))
    assert isinstance(levels, EdmLevels)
    assert (levels.sigma_min, levels.sigma_max) == pytest.approx((0.002, 120.0))
    assert levels.timestep(1.0) == pytest.approx(0, abs=1e-9)
    assert levels.timestep(math.e) == pytest.approx(0.25)
    spread = build_sigmas("normal", levels, 3)
    assert spread[:3] == pytest.approx((120.0, math.sqrt(0.002 * 120), 0.002))


TRAINED_NOISE = {
    "linear": ({"beta_schedule": "linear"}, {"beta_schedule": "linear"}),
    "cosine": ({"beta_schedule": "squaredcos_cap_v2"}, {"beta_schedule": "squaredcos_cap_v2"}),
    "listed": ({"trained_betas": (0.1, 0.2)}, {"trained_betas": [0.1, 0.2], "num_train_timesteps": 2}),
}


@pytest.mark.parametrize(("ours", "theirs"), TRAINED_NOISE.values(), ids=TRAINED_NOISE)
def test_other_betas_give_the_levels_of_diffusers(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    noise = {"beta_start": 0.00085, "beta_end": 0.012} | theirs
    kept = DDIMScheduler(**noise).alphas_cumprod.double().numpy()
    assert np.allclose(noise_levels_for(TrainedNoise(**ours)).sigmas, np.sqrt((1 - kept) / kept), rtol=1e-3)


def test_an_unknown_beta_schedule_is_named() -> None:
    with pytest.raises(ValueError, match="beta schedule 'wavy'; known are linear"):
        noise_levels_for(TrainedNoise(beta_schedule="wavy"))


def test_noise_is_read_from_the_models_own_configuration() -> None:
    noise = TrainedNoise.from_config(
        {"beta_end": 0.02, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    )
    assert (noise.beta_start, noise.beta_end, noise.prediction_type) == (0.00085, 0.02, "v_prediction")
    assert noise.zero_terminal_snr and noise.edm_sigmas is None
    edm = TrainedNoise.from_config({"_class_name": "EDMDPMSolverMultistepScheduler", "sigma_max": 80.0})
    assert (edm.edm_sigmas, edm.sigma_data) == ((0.002, 80.0), 0.5)


# These pick trained levels, so their number of steps follows from their definition.
PICKED = ("ddim_uniform", "beta")


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 11, 30, 100, 2000])
def test_levels_fall_to_their_end(name: str, steps: int) -> None:
    spread = build_sigmas(name, LEVELS, steps)
    assert all(later < earlier for earlier, later in pairwise(spread))
    assert spread[0] <= HIGH * 1.001
    assert spread[-1] == (pytest.approx(LOW, rel=1e-4) if name == "kl_optimal_a1111" else 0)
    if steps < 1000 and name not in PICKED:
        assert len(spread) == steps + 1
        shorter = build_sigmas(name, LEVELS, steps, discard_penultimate=True)
        assert len(shorter) == steps + 1
        assert shorter[:-1] == build_sigmas(name, LEVELS, steps + 1)[:-2]


# Steps and first level of ComfyUI's ddim_uniform.
DDIM_UNIFORM = {6: (7, 14.44), 12: (13, 14.44), 15: (16, 13.93), 28: (29, 13.12), 30: (31, 13.93), 60: (63, 14.09)}
DDIM_UNIFORM |= {150: (167, 14.44)}


@pytest.mark.parametrize("steps", DDIM_UNIFORM)
def test_ddim_uniform_takes_the_steps_of_comfyui(steps: int) -> None:
    spread = build_sigmas("ddim_uniform", LEVELS, steps)
    assert (len(spread) - 1, round(spread[0], 2)) == DDIM_UNIFORM[steps]


# The first levels of A1111 at 20 steps, and where its run ends.
OF_A1111 = {
    "beta_a1111": ([14.61, 14.42, 13.99, 13.39, 12.67], 0.0),
    "kl_optimal_a1111": ([14.615, 6.996, 4.565], 0.0291675),
    "kl_optimal": ([14.615, 6.807, 4.401], 0.0),
}


@pytest.mark.parametrize("name", OF_A1111)
def test_definitions_of_a1111_have_their_own_names(name: str) -> None:
    first, end = OF_A1111[name]
    spread = build_sigmas(name, LEVELS, 20)
    assert list(spread[: len(first)]) == pytest.approx(first, abs=0.006)
    assert spread[-1] == pytest.approx(end, rel=1e-4)


def test_beta_picks_trained_levels_at_most_once() -> None:
    spread = build_sigmas("beta", LEVELS, 150)
    assert len(spread) == 150  # one level is given twice by its formula, as in ComfyUI
    assert set(spread[:-1]) <= {float(level) for level in LEVELS.sigmas}
    assert build_sigmas("beta", LEVELS, 20)[1:5] == pytest.approx((13.55, 11.57, 9.39, 7.38), rel=5e-3)


# (steps, denoise): steps taken and first level of ComfyUI and A1111's hires pass, and of A1111's img2img; Euler, Karras.
PASSES = {
    (20, 0.5): ((20, 1.182), (11, 1.483)),
    (30, 0.4): ((30, 0.658), (13, 0.756)),
    (30, 0.75): ((30, 4.650), (23, 5.000)),
    (25, 0.3): ((25, 0.337), (8, 0.335)),
    (12, 0.55): ((12, 1.696), (7, 1.653)),
    (8, 0.6): ((8, 2.039), (5, 1.910)),
    (4, 0.2): ((4, 0.121), (1, 0.029)),
    (20, 1.0): ((20, 14.615), (20, 14.615)),
    (20, 0.04): ((20, 0.042), (1, 0.029)),
}


@pytest.mark.parametrize(("steps", "denoise"), PASSES)
def test_a_pass_takes_the_steps_of_comfyui_or_of_a1111(steps: int, denoise: float) -> None:
    taken = build_pass_sigmas("karras", LEVELS, steps, denoise)
    a1111 = build_pass_sigmas("karras", LEVELS, steps, denoise, counting="a1111_img2img")
    assert [(len(spread) - 1, round(spread[0], 3)) for spread in (taken.sigmas, a1111.sigmas)] == list(
        PASSES[steps, denoise]
    )


def test_a_pass_with_more_steps_than_trained_levels_takes_what_there_is() -> None:
    spread = build_pass_sigmas("simple", LEVELS, 30, 0.01).sigmas
    assert 1 < len(spread) <= 31
    assert all(later < earlier for earlier, later in pairwise(spread))


def at(timestep: int) -> float:
    return float(LEVELS.sigmas[timestep])


WORKED = {
    "normal": [at(999), at(666), at(333), at(0)],
    "sgm_uniform": [at(999), LEVELS.sigma_at_share(0.25), LEVELS.sigma_at_share(0.5), LEVELS.sigma_at_share(0.75)],
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


@pytest.mark.parametrize("name", ["normal", "karras", "exponential"])
def test_levels_are_those_of_diffusers(name: str) -> None:
    made = diffusers_scheduler("euler", karras=name == "karras", use_exponential_sigmas=name == "exponential")
    made.set_timesteps(10)
    assert build_sigmas(name, LEVELS, 10) == pytest.approx(made.sigmas.tolist(), rel=2e-3)


def test_every_schedule_of_the_table_has_a_formula() -> None:
    assert set(SCHEDULE_FUNCTIONS) == set(SCHEDULES)
    # In float32, as ComfyUI computes it.
    assert math.isclose(LEVELS.sigma_at_share(0.0), LEVELS.sigma_max, rel_tol=2**-23)
