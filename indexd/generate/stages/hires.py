"""Stage `hires`: latents are enlarged (themselves, or as pixels) and denoised once more at the larger size.

The ways to enlarge are those of A1111 (modules/shared.py, latent_upscale_modes) and ComfyUI (LatentUpscale).
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from indexd.generate.adapters.image_conditioning import hooks_for_pass
from indexd.generate.context import (
    DenoiseTask,
    RenderContext,
    encode_pass_prompts,
    verified_model_file,
    with_pass_settings,
)
from indexd.generate.diffusion import vae_decode
from indexd.generate.diffusion.denoise import DenoiseStart, denoise
from indexd.generate.diffusion.latents import draw_noise, encode_image, seeded_generator
from indexd.generate.stages.upscaler_model import TileSize, lease_upscaler, upscale_in_tiles
from indexd_schemas.recipe import HiresRecipe

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


def hires(context: RenderContext, latents: torch.Tensor) -> torch.Tensor:
    """The latents of the second pass. Its noise is that of the picture's seed at the larger size, as A1111 draws it."""
    wanted, task = context.recipe.hires, context.require_task(STAGE)
    assert wanted is not None
    task = with_pass_settings(task, wanted)
    chance = seeded_generator(task.recipe.seed)
    if wanted.upscaler in LATENT_MODES:
        larger = upscale_latents(task, latents, wanted)
    else:
        picture = _upscale_pixels(context, vae_decode.decode_latents(task.model, latents), wanted)
        larger = encode_image(task.model, picture, chance)
    unit = draw_noise(task.model, wanted.width, wanted.height, chance, task.recipe.variation)
    influences = hooks_for_pass(task, (wanted.width, wanted.height))
    start = DenoiseStart(unit, chance, larger, wanted.denoise)
    return denoise(task, encode_pass_prompts(task, wanted), start, hooks=influences, stage=STAGE)


def upscale_latents(task: DenoiseTask, latents: torch.Tensor, hires_recipe: HiresRecipe) -> torch.Tensor:
    """Latents at the size of the second pass."""
    scale = task.model.text_to_image.vae_scale_factor
    size = (hires_recipe.height // scale, hires_recipe.width // scale)
    mode = LATENT_MODES[hires_recipe.upscaler or "latent"]
    larger: torch.Tensor = torch.nn.functional.interpolate(latents.float(), size=size, **mode)
    return larger.to(latents.dtype)


def _upscale_pixels(context: RenderContext, image: Image.Image, hires_recipe: HiresRecipe) -> Image.Image:
    size = (hires_recipe.width, hires_recipe.height)
    if hires_recipe.model is None:
        return image.resize(size, PIXEL_MODES[hires_recipe.upscaler or "lanczos"])
    path, model = verified_model_file(
        "upscaler", hires_recipe.model, context.call.upscalers.get(hires_recipe.model.name), context.session
    )
    with lease_upscaler(context.session, path) as upscaler:
        made, cut = upscale_in_tiles(
            context.session, upscaler, image, TileSize(hires_recipe.tile, hires_recipe.overlap)
        )
    used = context.note_smaller_tiles(STAGE, hires_recipe.tile, cut.tile)
    context.update_recipe(hires=hires_recipe.model_copy(update={"model": model, "tile_used": used}))
    return made.resize(size, Image.Resampling.LANCZOS)
