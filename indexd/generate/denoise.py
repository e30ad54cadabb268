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
from indexd.generate.guidance import Guided, Guides, Influence
from indexd.generate.levels import levels_of
from indexd.generate.samplers import scheduler
from indexd.generate.sampling.by_scheduler import SchedulerRun
from indexd.generate.sampling.by_sigmas import SigmaRun
from indexd.generate.sampling.inpaint import Kept
from indexd.generate.sampling.registry import OURS
from indexd.generate.task import Task
from indexd.generate.text import Conditioning
from indexd.generate.tiled import Tiling
from indexd_schemas.samplers import by_diffusers, effective_schedule

STAGE = "denoise"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run starts.

    `noise` (1, 4, h, w) has unit variance; `chance` is what the sampler draws more noise from. Without `latents` all steps
    are made from noise alone; with them (clean, the same shape) the last `steps * strength` (rounded down).
    `mask` (1, 1, h, w), 1 = made anew, 0 = `latents` stay exactly as they are.
    """

    noise: torch.Tensor
    chance: torch.Generator
    latents: torch.Tensor | None = None
    strength: float = 1.0
    mask: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.latents is None:
            raise ValueError("a mask needs the latents that stay outside it")


def denoise(
    task: Task,
    conditioning: Conditioning,
    start: Start,
    *,
    influences: Sequence[Influence] = (),
    stage: str = STAGE,
    tiling: Tiling | None = None,
) -> torch.Tensor:
    """Clean latents (1, 4, h, w). `stage` names the pass in progress and errors; with `tiling` the UNet sees tiles only.

    Raises CallCancelled within one step, RenderFailed when numbers are lost.
    """
    steps, strength = task.recipe.steps, 1.0 if start.latents is None else start.strength
    if start.latents is not None and int(steps * strength) == 0:
        return start.latents
    whole = _guided(task, conditioning, start, influences)
    guided: Guides = whole
    if tiling is not None:
        guided = tiling.around(whole, task.model.text_to_image.vae_scale_factor, task.session.between_steps)
    count, reached = _steps(task, guided, start)
    latents = deque(_watched(task, stage, count, reached), maxlen=1).pop()
    _check(latents, stage)
    return latents


def _steps(task: Task, guided: Guides, start: Start) -> tuple[int, Iterator[torch.Tensor]]:
    strength = 1.0 if start.latents is None else start.strength
    kept = None if start.mask is None or start.latents is None else Kept(start.mask, start.latents)
    run = _run(task, strength)
    return len(run), run.run(guided, run.begin(start.latents, start.noise), start.noise, start.chance, kept)


def _run(task: Task, strength: float) -> SchedulerRun | SigmaRun:
    choice, trained, steps = task.choice, task.model.noise, task.recipe.steps
    if by_diffusers(choice):
        return SchedulerRun(scheduler(choice, trained), steps, strength, task.model.device)
    return SigmaRun(OURS[choice.sampler], effective_schedule(choice), steps, strength, levels_of(trained))


def _guided(task: Task, conditioning: Conditioning, start: Start, influences: Sequence[Influence]) -> Guided:
    scale = task.model.text_to_image.vae_scale_factor
    height, width = (side * scale for side in start.noise.shape[-2:])
    cfg = task.recipe.cfg if by_diffusers(task.choice) else task.recipe.cfg * OURS[task.choice.sampler].cfg_scale
    return Guided(
        unet=task.model.text_to_image.unet,
        conditioning=conditioning,
        cfg=cfg,
        rescale=task.recipe.cfg_rescale,
        size=(height, width),
        influences=tuple(influences),
    )


def _watched(task: Task, stage: str, count: int, steps: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    for done, latents in enumerate(steps, start=1):
        task.session.progress(stage, done, max(done, count))
        task.session.between_steps()
        yield latents


def _check(latents: torch.Tensor, stage: str) -> None:
    bad = int((~torch.isfinite(latents)).sum())
    if bad:
        raise RenderFailed(
            f"{stage}: {bad} of {latents.numel()} latent values are no numbers "
            f"(computed in {str(latents.dtype).removeprefix('torch.')}); try dtype float32 or bfloat16, or a lower cfg"
        )
