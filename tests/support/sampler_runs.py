"""One run of a sampler over a model of one formula, as a render makes it: for comparisons with other programs."""

from __future__ import annotations

import torch

from indexd.generate.sampling.noise_levels import NoiseLevels, TrainedNoise, noise_levels_for
from indexd.generate.sampling.noise_source import noise_source
from indexd.generate.sampling.sampler_functions import SAMPLER_FUNCTIONS
from indexd.generate.sampling.sampling_run import SamplingRun
from indexd.generate.sampling.sigma_schedules import build_pass_sigmas
from indexd.generate.sampling.step_position import StepPosition
from indexd_schemas.noise import RecipeNoise
from tests.support.elementwise_unet import NEGATIVE, POSITIVE, predict_noise

CFG, CFG_PP = 5.0, 1.5
"""The weight of guidance, and that of CFG++ samplers."""
SHAPE = (1, 4, 4, 4)
SEED = 7
STEPS = 12
DENOISE = 0.6
SOURCE = torch.linspace(-1, 1, 64).reshape(SHAPE)
"""The clean latents from which passes with `DENOISE` start."""
COMFYUI_NOISE = RecipeNoise(source="comfyui_cpu")
EPSILON_LEVELS = noise_levels_for(TrainedNoise())


class ElementwiseModel:
    """The formula with guidance."""

    def __init__(self, cfg: float) -> None:
        self.cfg = cfg

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor]:
        del position
        positive, negative = (predict_noise(latents, timestep, text) for text in (POSITIVE, NEGATIVE))
        return negative + self.cfg * (positive - negative), negative


def cfg_of(sampler: str) -> float:
    """The weight of guidance with which samplers are compared."""
    return CFG_PP if SAMPLER_FUNCTIONS[sampler].is_cfg_pp else CFG


def comparison_steps(sampler: str, schedule: str) -> int:
    """12, or 13 where 12 steps have a time step halfway between two: which is nearer differs between processors."""
    discards = SAMPLER_FUNCTIONS[sampler].discard_penultimate
    halfway = discards if schedule == "normal" else schedule == "sgm_uniform" and not discards
    return STEPS + halfway


def sample_elementwise(
    sampler: str,
    schedule: str,
    steps: int,
    *,
    noise: RecipeNoise = COMFYUI_NOISE,
    latents: torch.Tensor | None = None,
    denoise: float = 1.0,
    levels: NoiseLevels = EPSILON_LEVELS,
) -> torch.Tensor:
    """The clean latents of shape `SHAPE` with ComfyUI's time steps."""
    entry = SAMPLER_FUNCTIONS[sampler]
    built = build_pass_sigmas(schedule, levels, steps, denoise, discard_penultimate=entry.discard_penultimate)
    run = SamplingRun(sampler, built.sigmas, levels, built.schedule_highest, "rounded")
    source = noise_source(noise, SEED, levels)
    unit = source.draw(SHAPE)
    start = run.initial_latents(latents, unit, source)
    return list(run.run(ElementwiseModel(cfg_of(sampler)), start, unit, source, None))[-1]
