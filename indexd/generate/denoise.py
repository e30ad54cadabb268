"""Noise or a picture + conditioning -> clean latents: the real SDXL pipelines, watched and stopped between steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate.latents import encoded, generator, noise
from indexd.generate.samplers import scheduler
from indexd.generate.task import Task
from indexd.generate.text import Conditioning
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe

STAGE = "denoise"


def from_noise(task: Task, conditioning: Conditioning) -> torch.Tensor:
    """txt2img: all steps, from unit noise."""
    recipe, pipeline = task.recipe, task.model.text_to_image
    pipeline.scheduler = scheduler(task.choice, task.model.noise)
    chance = generator(recipe.seed)
    return _run(
        pipeline,
        task.session,
        **_common(recipe, conditioning, chance),
        width=recipe.width,
        height=recipe.height,
        latents=noise(task.model, recipe.width, recipe.height, chance),
    )


def from_picture(task: Task, conditioning: Conditioning, picture: Image.Image, strength: float) -> torch.Tensor:
    """img2img: the last `steps * strength` steps (rounded down) from the encoded picture; no step leaves it as it is."""
    recipe, pipeline = task.recipe, task.model.image_to_image
    chance = generator(recipe.seed)
    start = encoded(task.model, picture, chance)
    if int(recipe.steps * strength) == 0:
        return start
    pipeline.scheduler = scheduler(task.choice, task.model.noise)
    return _run(pipeline, task.session, **_common(recipe, conditioning, chance), image=start, strength=strength)


def _common(recipe: Recipe, conditioning: Conditioning, chance: torch.Generator) -> dict[str, Any]:
    # SDXL's micro-conditioning (section 2.2 of arXiv 2307.01952): a picture made for this size, not cropped.
    size = (recipe.height, recipe.width)
    return {
        **conditioning.arguments(),
        "num_inference_steps": recipe.steps,
        "guidance_scale": recipe.cfg,
        "generator": chance,
        "original_size": size,
        "target_size": size,
        "crops_coords_top_left": (0, 0),
        "output_type": "latent",
    }


def _run(pipeline: Any, session: RenderSession, **arguments: Any) -> torch.Tensor:
    latents: torch.Tensor = pipeline(**arguments, callback_on_step_end=_watch(session)).images
    bad = int((~torch.isfinite(latents)).sum())
    if bad:
        raise RenderFailed(
            f"{STAGE}: {bad} of {latents.numel()} latent values are no numbers "
            f"(computed in {str(latents.dtype).removeprefix('torch.')}); try dtype float32 or bfloat16, or a lower cfg"
        )
    return latents


def _watch(session: RenderSession) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    def after_step(pipeline: Any, index: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        session.progress(STAGE, index + 1, pipeline.num_timesteps)
        # Raising is the one way to stop at once: with `_interrupt` the pipeline goes on to the end.
        session.between_steps()
        return {}

    return after_step
