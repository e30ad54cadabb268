"""A finished image goes through img2img once more, in tiles that overlap, for the stage `refine`.

Encoded tile by tile, denoised as one (every step mixes the tiles, see indexd/generate/diffusion/tiling.py), decoded tile by tile: what
fits in memory depends on the tile and not on the image. One noise is drawn for the whole image, so that where tiles
overlap both start from the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate.context import DenoiseTask, RenderContext, effective_steps, encode_pass_prompts, with_pass_settings
from indexd.generate.diffusion import vae_decode
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.denoise import DenoiseStart, denoise
from indexd.generate.diffusion.latents import draw_noise
from indexd.generate.diffusion.tiling import Tiling, blend_tiles
from indexd.generate.pass_hooks import hooks_for_pass, relative_box
from indexd.images.geometry import Tile, split_into_tiles
from indexd_schemas.jobs.stages import RefineRecipe
from indexd_schemas.limits import SIZE_STEP_PX

STAGE = "refine"


def denoise_in_tiles(recipe: RefineRecipe, context: RenderContext, image: Image.Image) -> Image.Image:
    """The refined image, of the same size; the image itself, every pixel, where no step would be made."""
    task = with_pass_settings(context.require_task(STAGE), recipe)
    if effective_steps(task, recipe.denoise) == 0:
        context.notes.append(
            f"{STAGE}: left as it was; {task.recipe.steps} steps at denoise {recipe.denoise:g} make none"
        )
        return image
    padded = _pad_to_step(image)
    tiles = split_into_tiles(padded.width, padded.height, recipe.tile, recipe.overlap, SIZE_STEP_PX)
    conditionings = _tile_conditionings(task, recipe, len(tiles), image)
    numbers = task.noise_source()
    latents = _encode_tiles(task, padded, tiles, recipe.overlap, numbers.encoding_rng)
    noise = draw_noise(task.model, padded.width, padded.height, numbers)
    hooks = [
        hooks_for_pass(task, (tile.right - tile.left, tile.bottom - tile.top), relative_box(tile.box, padded.size))
        for tile in tiles
    ]
    scale = task.model.pixels_per_latent
    latent_tiles = tuple(_to_latent_tile(tile, scale) for tile in tiles)
    tiling = Tiling(latent_tiles, recipe.overlap // scale, tuple(conditionings), tuple(hooks))
    start = DenoiseStart(noise, numbers, latents, recipe.denoise)
    made = denoise(task, conditionings[0], start, stage=STAGE, tiling=tiling)
    return _decode_tiles(task, made, tiles, recipe.overlap).crop((0, 0, *image.size))


def _tile_conditionings(
    task: DenoiseTask, refine_recipe: RefineRecipe, count: int, image: Image.Image
) -> Sequence[TextConditioning]:
    if refine_recipe.prompts is None:
        return [encode_pass_prompts(task, refine_recipe)]
    if len(refine_recipe.prompts) != count:
        raise RenderFailed(
            f"{STAGE}: {len(refine_recipe.prompts)} prompts, but {image.width}x{image.height} is cut into {count} tiles"
        )
    known: dict[str, TextConditioning] = {}
    for prompt in refine_recipe.prompts:
        if prompt not in known:
            known[prompt] = encode_pass_prompts(task, refine_recipe, prompt)
    return [known[prompt] for prompt in refine_recipe.prompts]


def _pad_to_step(image: Image.Image) -> Image.Image:
    """Both sides brought to multiples of 8 by repeating the last row and column."""
    right, below = -image.width % SIZE_STEP_PX, -image.height % SIZE_STEP_PX
    if not right and not below:
        return image
    return Image.fromarray(np.pad(np.asarray(image), ((0, below), (0, right), (0, 0)), mode="edge"))


def _to_latent_tile(tile: Tile, scale: int) -> Tile:
    return Tile(*(side // scale for side in tile.box))


def _encode_tiles(
    task: DenoiseTask, image: Image.Image, grid: Sequence[Tile], overlap: int, rng: torch.Generator | None
) -> torch.Tensor:
    def part(tile: Tile) -> torch.Tensor:
        return task.model.encode_image(image.crop(tile.box), rng)

    if len(grid) == 1:
        return part(grid[0])
    parts, scale = _map_tiles(task, grid, part), task.model.pixels_per_latent
    size = image.width // scale, image.height // scale
    whole = blend_tiles(((_to_latent_tile(tile, scale), one) for tile, one in parts), *size, overlap // scale)
    return whole.to(task.model.latent_dtype)


def _decode_tiles(task: DenoiseTask, latents: torch.Tensor, grid: Sequence[Tile], overlap: int) -> Image.Image:
    scale = task.model.pixels_per_latent

    def part(tile: Tile) -> torch.Tensor:
        left, top, right, bottom = _to_latent_tile(tile, scale).box
        pixels = vae_decode.decode_latents(task.model, latents[..., top:bottom, left:right], is_part=True)
        return torch.from_numpy(np.asarray(pixels).copy()).permute(2, 0, 1)

    height, width = (side * scale for side in latents.shape[-2:])
    whole = blend_tiles(_map_tiles(task, grid, part), width, height, overlap)
    return Image.fromarray(whole.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())


def _map_tiles(
    task: DenoiseTask, grid: Sequence[Tile], part: Callable[[Tile], torch.Tensor]
) -> Iterator[tuple[Tile, torch.Tensor]]:
    for tile in grid:
        yield tile, part(tile)
        task.session.poll()
