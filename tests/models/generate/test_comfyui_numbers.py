"""Samplers, schedules, levels and control ranges against numbers that ComfyUI's engine gave (`bench/comfyui_fidelity.py`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from indexd.generate.sampling.noise_levels import TrainedNoise, noise_levels_for
from indexd.generate.sampling.sampler_functions import SAMPLER_FUNCTIONS
from indexd.generate.sampling.sigma_schedules import build_sigmas
from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.controlnet import ControlInput
from tests.support.paths import COMFYUI_NUMBERS
from tests.support.sampler_runs import DENOISE, EPSILON_LEVELS, SOURCE, STEPS, comparison_steps, sample_elementwise

NUMBERS: dict[str, Any] = json.loads(COMFYUI_NUMBERS.read_text("utf-8"))
# torchsde answers a level within 1e-6, which is 1e-3 of its noise.
TREE_TOLERANCE = 0.02
TOLERANCE = 2e-4
# ComfyUI solves SA Solver's equations in float32, which has too few digits for the first steps of linear_quadratic, and
# integrates LMS's weights to four digits.
IMPRECISE = {
    ("sa_solver", "linear_quadratic"): 0.1,
    ("sa_solver_pece", "linear_quadratic"): 0.1,
    ("lms", "linear_quadratic"): 2e-3,
}


def assert_near(made: torch.Tensor, expected: list[float], sampler: str, schedule: str) -> None:
    is_brownian = SAMPLER_FUNCTIONS[sampler].uses_brownian_noise
    tolerance = IMPRECISE.get((sampler, schedule), TREE_TOLERANCE if is_brownian else TOLERANCE)
    np.testing.assert_allclose(
        made.flatten()[: len(expected)].numpy(), expected, rtol=tolerance, atol=tolerance, err_msg=schedule
    )


@pytest.mark.parametrize("sampler", NUMBERS["txt2img"])
def test_a_sampler_makes_comfyuis_latents_on_every_schedule(sampler: str) -> None:
    for schedule, expected in NUMBERS["txt2img"][sampler].items():
        made = sample_elementwise(sampler, schedule, comparison_steps(sampler, schedule))
        assert_near(made, expected, sampler, schedule)


@pytest.mark.parametrize("sampler", NUMBERS["img2img"])
def test_a_pass_from_latents_makes_comfyuis(sampler: str) -> None:
    made = sample_elementwise(sampler, "karras", STEPS, latents=SOURCE, denoise=DENOISE)
    assert_near(made, NUMBERS["img2img"][sampler], sampler, "karras")


@pytest.mark.parametrize("name", NUMBERS["levels"])
def test_the_levels_of_a_schedule_are_comfyuis(name: str) -> None:
    schedule, steps = name.split()
    made = build_sigmas(schedule, EPSILON_LEVELS, int(steps))
    np.testing.assert_allclose(made, NUMBERS["levels"][name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", NUMBERS["zero_snr"])
def test_the_levels_of_zero_terminal_snr_are_comfyuis(schedule: str) -> None:
    levels = noise_levels_for(TrainedNoise(prediction_type="v_prediction", zero_terminal_snr=True))
    made = build_sigmas(schedule, levels, 8)
    # The arc tangent of 4518 lies so near to a right angle that float32 moves the level by 0.6.
    np.testing.assert_allclose(made, NUMBERS["zero_snr"][schedule], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
    "case", NUMBERS["control"], ids=lambda case: f"{case['schedule']}-{case['steps']}-{case['range']}"
)
def test_a_control_works_in_comfyuis_steps(case: dict[str, Any]) -> None:
    start, end = case["range"]
    control = ControlInput(torch.zeros(1, 3, 8, 8), 1.0, start, end)
    sigmas = build_sigmas(case["schedule"], EPSILON_LEVELS, case["steps"])[:-1]
    positions = [StepPosition(step, len(sigmas), EPSILON_LEVELS.time_share(sigma)) for step, sigma in enumerate(sigmas)]
    assert [place.step for place in positions if control.is_active_at(place)] == case["active"]
