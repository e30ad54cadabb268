"""Noise or latents + conditioning -> clean latents, with progress and cancellation between steps.

Every pass of a render goes through this loop. A pass with its own steps, guidance or sampler gets a task whose recipe and
choice state them (`dataclasses.replace`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from indexd.errors import RenderFailed
from indexd.generate.context import DenoiseTask
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.guidance import GuidedModel, ModelHook, TileableModel
from indexd.generate.diffusion.tiling import Tiling
from indexd.generate.sampling.inpaint_mask import InpaintMask
from indexd.generate.sampling.noise_source import NoiseSource
from indexd.generate.sampling.sampler_functions import SAMPLER_FUNCTIONS
from indexd.generate.sampling.sampling_run import SamplingRun
from indexd.generate.sampling.sigma_schedules import build_pass_sigmas
from indexd_schemas.samplers import StepCounting, effective_schedule

STAGE = "denoise"
# Samplers that take no schedule choose their own levels; only the two ends of this one matter to them.
_DEFAULT_SCHEDULE = "exponential"


@dataclass(frozen=True, slots=True)
class DenoiseStart:
    """Where a run starts.

    `noise` (1, c, h, w) has unit variance; `source` gives all further noise of the sampler. Without `latents` the run
    starts from noise alone. With them (clean, the same shape) it starts at the share `strength` of the schedule;
    `step_counting` says what the recipe's steps mean then (see `build_pass_sigmas`). Strength 0 takes no step.
    `mask` (1, 1, h, w): 1 = denoised, 0 = `latents` stay exactly as they are.
    """

    noise: torch.Tensor
    source: NoiseSource
    latents: torch.Tensor | None = None
    strength: float = 1.0
    mask: torch.Tensor | None = None
    step_counting: StepCounting = "taken"

    def __post_init__(self) -> None:
        if self.mask is not None and self.latents is None:
            raise ValueError("a mask needs the latents that stay outside it")


def denoise(
    task: DenoiseTask,
    conditioning: TextConditioning,
    start: DenoiseStart,
    *,
    hooks: Sequence[ModelHook] = (),
    stage: str = STAGE,
    tiling: Tiling | None = None,
) -> torch.Tensor:
    """Clean latents (1, c, h, w). `stage` names the pass in progress and errors; with `tiling` the model gets tiles only.

    Raises CallCancelled within one step, RenderFailed when the latents are no numbers.
    """
    if start.latents is not None and start.strength <= 0:
        return start.latents
    whole = _build_denoiser(task, conditioning, start, hooks)
    guided: GuidedModel = whole
    if tiling is not None:
        guided = tiling.wrap(whole, task.model.pixels_per_latent, task.session.poll)
    count, reached = _start_run(task, guided, start)
    latents = deque(_report_steps(task, stage, count, reached), maxlen=1).pop()
    _check_finite(latents, stage)
    return latents


def _start_run(task: DenoiseTask, guided: GuidedModel, start: DenoiseStart) -> tuple[int, Iterator[torch.Tensor]]:
    mask = None if start.mask is None or start.latents is None else InpaintMask(start.mask, start.latents)
    run = _build_run(task, start)
    first = run.initial_latents(start.latents, start.noise, start.source)
    return len(run), run.run(guided, first, start.noise, start.source, mask)


def _build_run(task: DenoiseTask, start: DenoiseStart) -> SamplingRun:
    entry, levels = SAMPLER_FUNCTIONS[task.choice.sampler], task.model.levels
    built = build_pass_sigmas(
        effective_schedule(task.choice) or _DEFAULT_SCHEDULE,
        levels,
        task.recipe.steps,
        1.0 if start.latents is None else start.strength,
        discard_penultimate=entry.discard_penultimate,
        counting=start.step_counting,
    )
    is_part = start.latents is not None and start.step_counting == "a1111_img2img"
    return SamplingRun(
        task.choice.sampler,
        built.sigmas,
        levels,
        built.schedule_highest,
        task.recipe.timesteps,
        planned_steps=task.recipe.steps if is_part else None,
    )


def _build_denoiser(
    task: DenoiseTask, conditioning: TextConditioning, start: DenoiseStart, hooks: Sequence[ModelHook]
) -> TileableModel:
    height, width = (side * task.model.pixels_per_latent for side in start.noise.shape[-2:])
    return task.model.denoiser(
        conditioning,
        cfg=task.recipe.cfg * SAMPLER_FUNCTIONS[task.choice.sampler].cfg_scale,
        cfg_rescale=task.recipe.cfg_rescale,
        size=(height, width),
        hooks=hooks,
    )


def _report_steps(task: DenoiseTask, stage: str, count: int, steps: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    for done, latents in enumerate(steps, start=1):
        task.session.progress(stage, done, max(done, count))
        task.session.poll()
        yield latents


def _check_finite(latents: torch.Tensor, stage: str) -> None:
    bad = int((~torch.isfinite(latents)).sum())
    if bad:
        raise RenderFailed(
            f"{stage}: {bad} of {latents.numel()} latent values are no numbers "
            f"(computed in {str(latents.dtype).removeprefix('torch.')}); try dtype float32 or bfloat16, or a lower cfg"
        )
