"""Stage `hires`: latents are enlarged (themselves, or as pixels) and denoised once more at the larger size.

The ways to enlarge are those of A1111 (modules/shared.py, latent_upscale_modes) and ComfyUI (LatentUpscale).
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from indexd.generate import decode
from indexd.generate.denoise import Start, denoise
from indexd.generate.guides import influences_for
from indexd.generate.latents import encoded, generator, noise
from indexd.generate.stages.upscaler import Cut, enlarged, lent_upscaler
from indexd.generate.stages.work import Work, known_file, pass_of, texts_of
from indexd.generate.task import Task
from indexd_schemas.recipe_stages import HiresRecipe

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


def hires(work: Work, latents: torch.Tensor) -> torch.Tensor:
    """The latents of the second pass. Its noise is that of the picture's seed at the larger size, as A1111 draws it."""
    wanted, task = work.recipe.hires, work.model(STAGE)
    assert wanted is not None
    task = pass_of(task, wanted)
    chance = generator(task.recipe.seed)
    if wanted.upscaler in LATENT_MODES:
        larger = enlarged_latents(task, latents, wanted)
    else:
        picture = _enlarged_pixels(work, decode.pixels(task.model, latents), wanted)
        larger = encoded(task.model, picture, chance)
    unit = noise(task.model, wanted.width, wanted.height, chance, task.recipe.variation)
    influences = influences_for(task, (wanted.width, wanted.height))
    start = Start(unit, chance, larger, wanted.denoise)
    return denoise(task, texts_of(task, wanted), start, influences=influences, stage=STAGE)


def enlarged_latents(task: Task, latents: torch.Tensor, wanted: HiresRecipe) -> torch.Tensor:
    """Latents at the size of the second pass."""
    scale = task.model.text_to_image.vae_scale_factor
    size = (wanted.height // scale, wanted.width // scale)
    mode = LATENT_MODES[wanted.upscaler or "latent"]
    larger: torch.Tensor = torch.nn.functional.interpolate(latents.float(), size=size, **mode)
    return larger.to(latents.dtype)


def _enlarged_pixels(work: Work, picture: Image.Image, wanted: HiresRecipe) -> Image.Image:
    size = (wanted.width, wanted.height)
    if wanted.model is None:
        return picture.resize(size, PIXEL_MODES[wanted.upscaler or "lanczos"])
    path, model = known_file("upscaler", wanted.model, work.call.upscalers.get(wanted.model.name), work.session)
    with lent_upscaler(work.session, path) as upscaler:
        made, cut = enlarged(work.session, upscaler, picture, Cut(wanted.tile, wanted.overlap))
    used = work.smaller_tiles(STAGE, wanted.tile, cut.tile)
    work.know(hires=wanted.model_copy(update={"model": model, "tile_used": used}))
    return made.resize(size, Image.Resampling.LANCZOS)
