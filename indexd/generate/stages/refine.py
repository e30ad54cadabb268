"""Stage `refine`: the finished picture goes through img2img once more, in tiles that overlap.

Encoded tile by tile, denoised as one (every step mixes the tiles, see indexd/generate/tiled.py), decoded tile by tile: what
fits in memory is decided by the tile and not by the picture. One noise is drawn for the whole picture, so that where tiles
overlap both start from the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate import decode
from indexd.generate.denoise import Start, denoise
from indexd.generate.guides import influences_for, share_of
from indexd.generate.latents import encoded, generator, noise
from indexd.generate.stages.work import Work, pass_of, steps_made, texts_of
from indexd.generate.task import Task
from indexd.generate.text import Conditioning
from indexd.generate.tiled import Tiling, joined
from indexd.images.tiles import Tile, tiles
from indexd_schemas.recipe_stages import RefineRecipe

STAGE = "refine"
STEP_PX = 8


def refine(work: Work, picture: Image.Image) -> Image.Image:
    """The refined picture, of the same size. Where no step would be made it is the picture itself, every pixel of it."""
    wanted, task = work.recipe.refine, work.model(STAGE)
    assert wanted is not None
    task = pass_of(task, wanted)
    if steps_made(task, wanted.denoise) == 0:
        work.notes.append(f"{STAGE}: left as it was; {task.recipe.steps} steps at denoise {wanted.denoise:g} make none")
        return picture
    padded = _padded(picture)
    grid = tiles(padded.width, padded.height, wanted.tile, wanted.overlap, STEP_PX)
    texts = _texts(task, wanted, len(grid), picture)
    chance = generator(task.recipe.seed)
    latents = _encoded(task, padded, grid, wanted.overlap, chance)
    unit = noise(task.model, padded.width, padded.height, chance)
    influences = [
        influences_for(task, (tile.right - tile.left, tile.bottom - tile.top), share_of(tile.box, padded.size))
        for tile in grid
    ]
    scale = task.model.text_to_image.vae_scale_factor
    in_latents = tuple(_in_latents(tile, scale) for tile in grid)
    tiling = Tiling(in_latents, wanted.overlap // scale, tuple(texts), tuple(influences))
    start = Start(unit, chance, latents, wanted.denoise)
    made = denoise(task, texts[0], start, stage=STAGE, tiling=tiling)
    return _decoded(task, made, grid, wanted.overlap).crop((0, 0, *picture.size))


def _texts(task: Task, wanted: RefineRecipe, count: int, picture: Image.Image) -> Sequence[Conditioning]:
    if wanted.prompts is None:
        return [texts_of(task, wanted)]
    if len(wanted.prompts) != count:
        raise RenderFailed(
            f"{STAGE}: {len(wanted.prompts)} prompts, but {picture.width}x{picture.height} is cut into {count} tiles"
        )
    known: dict[str, Conditioning] = {}
    for prompt in wanted.prompts:
        if prompt not in known:
            known[prompt] = texts_of(task, wanted, prompt)
    return [known[prompt] for prompt in wanted.prompts]


def _padded(picture: Image.Image) -> Image.Image:
    """Both sides brought to multiples of 8 by repeating the last row and column."""
    right, below = -picture.width % STEP_PX, -picture.height % STEP_PX
    if not right and not below:
        return picture
    return Image.fromarray(np.pad(np.asarray(picture), ((0, below), (0, right), (0, 0)), mode="edge"))


def _in_latents(tile: Tile, scale: int) -> Tile:
    return Tile(*(side // scale for side in tile.box))


def _encoded(
    task: Task, picture: Image.Image, grid: Sequence[Tile], overlap: int, chance: torch.Generator
) -> torch.Tensor:
    def part(tile: Tile) -> torch.Tensor:
        return encoded(task.model, picture.crop(tile.box), chance)

    if len(grid) == 1:
        return part(grid[0])
    parts, scale = _each(task, grid, part), task.model.text_to_image.vae_scale_factor
    size = picture.width // scale, picture.height // scale
    whole = joined(((_in_latents(tile, scale), one) for tile, one in parts), *size, overlap // scale)
    return whole.to(task.model.text_to_image.unet.dtype)


def _decoded(task: Task, latents: torch.Tensor, grid: Sequence[Tile], overlap: int) -> Image.Image:
    scale = task.model.text_to_image.vae_scale_factor

    def part(tile: Tile) -> torch.Tensor:
        left, top, right, bottom = _in_latents(tile, scale).box
        pixels = decode.pixels(task.model, latents[..., top:bottom, left:right], part=True)
        return torch.from_numpy(np.asarray(pixels).copy()).permute(2, 0, 1)

    height, width = (side * scale for side in latents.shape[-2:])
    whole = joined(_each(task, grid, part), width, height, overlap)
    return Image.fromarray(whole.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())


def _each(
    task: Task, grid: Sequence[Tile], part: Callable[[Tile], torch.Tensor]
) -> Iterator[tuple[Tile, torch.Tensor]]:
    for tile in grid:
        yield tile, part(tile)
        task.session.between_steps()
