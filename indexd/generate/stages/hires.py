"""Latents enlarged (themselves, or as pixels) and denoised once more at the larger size, for the stage `hires`.

The ways to enlarge are those of A1111 (modules/shared.py, latent_upscale_modes) and ComfyUI (LatentUpscale).
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from indexd.generate.context import (
    DenoiseTask,
    RenderContext,
    encode_pass_prompts,
    with_pass_settings,
)
from indexd.generate.diffusion import vae_decode
from indexd.generate.diffusion.denoise import DenoiseStart, denoise
from indexd.generate.diffusion.latents import draw_noise
from indexd.generate.pass_hooks import hooks_for_pass
from indexd.generate.stages.upscaler_model import TileSize, lease_upscaler, upscale_in_tiles
from indexd_schemas.jobs.stages import HiresRecipe

STAGE = "hires"
LATENT_MODES: dict[str, dict[str, Any]] = {
    "latent": {"mode": "bilinear"},
    "latent_antialiased": {"mode": "bilinear", "antialias": True},
    "latent_bicubic": {"mode": "bicubic"},
    "latent_bicubic_antialiased": {"mode": "bicubic", "antialias": True},
    "latent_nearest": {"mode": "nearest"},
    "latent_nearest_exact": {"mode": "nearest-exact"},
    "latent_area": {"mode": "area"},
}
PIXEL_MODES = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def denoise_enlarged(
    recipe: HiresRecipe, context: RenderContext, latents: torch.Tensor
) -> tuple[torch.Tensor, HiresRecipe]:
    """The latents of the second pass. Its noise is that of the image's seed at the larger size, as A1111 draws it."""
    task = with_pass_settings(context.require_task(STAGE), recipe)
    numbers = task.noise_source()
    if recipe.upscaler in LATENT_MODES:
        larger = upscale_latents(task, latents, recipe)
    else:
        image, recipe = _upscale_pixels(context, vae_decode.decode_latents(task.model, latents), recipe)
        larger = task.model.encode_image(image, numbers.encoding_rng)
    noise = draw_noise(task.model, recipe.width, recipe.height, numbers, task.recipe.variation)
    hooks = hooks_for_pass(task, (recipe.width, recipe.height))
    start = DenoiseStart(noise, numbers, larger, recipe.denoise)
    return denoise(task, encode_pass_prompts(task, recipe), start, hooks=hooks, stage=STAGE), recipe


def upscale_latents(task: DenoiseTask, latents: torch.Tensor, recipe: HiresRecipe) -> torch.Tensor:
    """Latents at the size of the second pass."""
    scale = task.model.pixels_per_latent
    size = (recipe.height // scale, recipe.width // scale)
    mode = LATENT_MODES[recipe.upscaler or "latent"]
    larger: torch.Tensor = torch.nn.functional.interpolate(latents.float(), size=size, **mode)
    return larger.to(latents.dtype)


def _upscale_pixels(context: RenderContext, image: Image.Image, recipe: HiresRecipe) -> tuple[Image.Image, HiresRecipe]:
    size = (recipe.width, recipe.height)
    if recipe.model is None:
        return image.resize(size, PIXEL_MODES[recipe.upscaler or "lanczos"]), recipe
    path, model = context.verified_model_file("upscaler", recipe.model)
    with lease_upscaler(context.session, path) as upscaler:
        made, used = upscale_in_tiles(context.session, upscaler, image, TileSize(recipe.tile, recipe.overlap))
    tile_used = context.note_smaller_tiles(STAGE, recipe.tile, used.tile)
    recipe = recipe.model_copy(update={"model": model, "tile_used": tile_used})
    return made.resize(size, Image.Resampling.LANCZOS), recipe
