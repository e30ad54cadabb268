"""Noise or a picture + conditioning -> clean latents, watched and stopped between steps.

The one loop that every pass of a render goes through. A pass with other steps, guidance or sampler than the recipe's is
given a task whose recipe and choice say so (`dataclasses.replace`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from indexd.errors import RenderFailed
from indexd.generate.context import DenoiseTask
from indexd.generate.diffusion.guidance import GuidedModel, GuidedUnet, UnetHook
from indexd.generate.diffusion.tiling import Tiling
from indexd.generate.sampling.diffusers_schedulers import build_scheduler
from indexd.generate.sampling.inpaint_mask import InpaintMask
from indexd.generate.sampling.native_samplers import NATIVE_SAMPLERS
from indexd.generate.sampling.noise_levels import noise_levels_for
from indexd.generate.sampling.scheduler_run import SchedulerRun
from indexd.generate.sampling.sigma_run import SigmaRun
from indexd.generate.sdxl.text_encoding import TextConditioning
from indexd_schemas.samplers import effective_schedule, runs_in_diffusers

STAGE = "denoise"


@dataclass(frozen=True, slots=True)
class DenoiseStart:
    """Where a run starts.

    `noise` (1, 4, h, w) has unit variance; `chance` is what the sampler draws more noise from. Without `latents` all steps
    are made from noise alone; with them (clean, the same shape) the last `steps * strength` (rounded down).
    `mask` (1, 1, h, w), 1 = made anew, 0 = `latents` stay exactly as they are.
    """

    noise: torch.Tensor
    rng: torch.Generator
    latents: torch.Tensor | None = None
    strength: float = 1.0
    mask: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.latents is None:
            raise ValueError("a mask needs the latents that stay outside it")


def denoise(
    task: DenoiseTask,
    conditioning: TextConditioning,
    start: DenoiseStart,
    *,
    hooks: Sequence[UnetHook] = (),
    stage: str = STAGE,
    tiling: Tiling | None = None,
) -> torch.Tensor:
    """Clean latents (1, 4, h, w). `stage` names the pass in progress and errors; with `tiling` the UNet sees tiles only.

    Raises CallCancelled within one step, RenderFailed when numbers are lost.
    """
    steps, strength = task.recipe.steps, 1.0 if start.latents is None else start.strength
    if start.latents is not None and int(steps * strength) == 0:
        return start.latents
    whole = _build_guided_unet(task, conditioning, start, hooks)
    guided: GuidedModel = whole
    if tiling is not None:
        guided = tiling.wrap(whole, task.model.text_to_image.vae_scale_factor, task.session.poll)
    count, reached = _start_run(task, guided, start)
    latents = deque(_report_steps(task, stage, count, reached), maxlen=1).pop()
    _check_finite(latents, stage)
    return latents


def _start_run(task: DenoiseTask, guided: GuidedModel, start: DenoiseStart) -> tuple[int, Iterator[torch.Tensor]]:
    strength = 1.0 if start.latents is None else start.strength
    kept = None if start.mask is None or start.latents is None else InpaintMask(start.mask, start.latents)
    run = _build_run(task, strength)
    return len(run), run.run(guided, run.initial_latents(start.latents, start.noise), start.noise, start.rng, kept)


def _build_run(task: DenoiseTask, strength: float) -> SchedulerRun | SigmaRun:
    choice, trained, steps = task.choice, task.model.trained_noise, task.recipe.steps
    if runs_in_diffusers(choice):
        return SchedulerRun(build_scheduler(choice, trained), steps, strength, task.model.device)
    return SigmaRun(
        NATIVE_SAMPLERS[choice.sampler], effective_schedule(choice), steps, strength, noise_levels_for(trained)
    )


def _build_guided_unet(
    task: DenoiseTask, conditioning: TextConditioning, start: DenoiseStart, hooks: Sequence[UnetHook]
) -> GuidedUnet:
    scale = task.model.text_to_image.vae_scale_factor
    height, width = (side * scale for side in start.noise.shape[-2:])
    cfg = (
        task.recipe.cfg
        if runs_in_diffusers(task.choice)
        else task.recipe.cfg * NATIVE_SAMPLERS[task.choice.sampler].cfg_scale
    )
    return GuidedUnet(
        unet=task.model.text_to_image.unet,
        conditioning=conditioning,
        cfg=cfg,
        rescale=task.recipe.cfg_rescale,
        size=(height, width),
        hooks=tuple(hooks),
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
