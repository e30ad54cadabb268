"""Upscaler models: any single-image architecture that spandrel knows, resident in the pool, run in tiles."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from indexd.errors import IndexdError, OutOfMemory, RenderFailed
from indexd.generate.diffusion.tiling import blend_tiles
from indexd.generate.model_lease import generator_spec
from indexd.images.geometry import Tile, scale_size, split_into_tiles
from indexd.models.device import is_out_of_memory, resolve_device
from indexd.worker.calls import GENERATOR
from indexd.worker.session import RenderSession

log = logging.getLogger(__name__)

MIN_TILE_PX = 64
_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class UpscalerModel:
    """A loaded model that makes every pixel `scale` x `scale`. `whole` = it must see the image in one piece."""

    name: str
    net: Any
    scale: int
    channels: int
    device: torch.device
    dtype: torch.dtype
    needs_whole_image: bool

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """(3, h, w) in 0..1 -> (3, h * scale, w * scale) in 0..1, float32 on the CPU. Raises RenderFailed when numbers are lost."""
        given = image.mean(0, keepdim=True) if self.channels == 1 else image
        made: torch.Tensor = self.net(given[None].to(self.device, self.dtype))[0].float().cpu()
        bad = int((~torch.isfinite(made)).sum())
        if bad:
            raise RenderFailed(f"upscaler {self.name}: {bad} of {made.numel()} pixel values are no numbers")
        return made.expand(3, -1, -1)


@dataclass(frozen=True, slots=True)
class TileSize:
    """Side of a tile and overlap, in pixels before enlarging."""

    tile: int
    overlap: int

    def smaller(self) -> TileSize:
        """The next try when there was no room."""
        tile = max(MIN_TILE_PX, self.tile // 2)
        return TileSize(tile, min(self.overlap, tile // 2))


def lease_upscaler(session: RenderSession, path: Path) -> AbstractContextManager[UpscalerModel]:
    """A lease of the upscaler at `path`. Raises RenderFailed when it is none."""
    spec = generator_spec(session)
    device = resolve_device(spec.device, GENERATOR)
    key = f"upscaler|{path}|{path.stat().st_mtime_ns}|{device}"
    load = partial(_load_upscaler, path, torch.device(device), pickle_allowed=session.settings.pickle_checkpoints)
    return session.pool.lease("upscaler", key, load, spec.keep_alive_seconds)


def upscale_in_tiles(
    session: RenderSession, upscaler: UpscalerModel, image: Image.Image, tile_size: TileSize
) -> tuple[Image.Image, TileSize]:
    """The image `scale` times as wide and high, and the tiles it was made in: smaller ones where memory was short.

    Raises RenderFailed above the limit on megapixels, OutOfMemory when even the smallest tile has no room.
    """
    width, height = scale_size(image.size, upscaler.scale)
    megapixels, most = width * height / 1e6, session.settings.max_megapixels
    if megapixels > most:
        raise RenderFailed(
            f"upscaler {upscaler.name} makes {image.width}x{image.height} {upscaler.scale} times as large: {width}x{height} "
            f"are {megapixels:.1f} megapixels; at most {most:g} are allowed ([generate] max_megapixels)"
        )
    while True:
        try:
            return session.pool.run_with_eviction(partial(_in_tiles, session, upscaler, image, tile_size)), tile_size
        except OutOfMemory:
            if tile_size.tile <= MIN_TILE_PX or upscaler.needs_whole_image:
                raise
        tile_size = tile_size.smaller()
        log.info("no room for upscaling in larger tiles; trying %d px", tile_size.tile)


def _in_tiles(session: RenderSession, upscaler: UpscalerModel, image: Image.Image, tile_size: TileSize) -> Image.Image:
    whole = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float() / 255
    side = max(image.size) if upscaler.needs_whole_image else tile_size.tile
    grid = split_into_tiles(image.width, image.height, side, tile_size.overlap)
    scale = upscaler.scale

    def made() -> Iterator[tuple[Tile, torch.Tensor]]:
        for done, tile in enumerate(grid, start=1):
            part = upscaler(whole[:, tile.top : tile.bottom, tile.left : tile.right])
            yield Tile(tile.left * scale, tile.top * scale, tile.right * scale, tile.bottom * scale), part
            session.progress("upscale", done, len(grid))
            session.poll()

    pixels = blend_tiles(made(), image.width * scale, image.height * scale, tile_size.overlap * scale)
    values = pixels.clamp_(0, 1).mul_(255).round_().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(values)


def _load_upscaler(path: Path, device: torch.device, *, pickle_allowed: bool) -> UpscalerModel:
    # Its sixty architectures take a second to import, and most renders need none.
    from spandrel import ImageModelDescriptor, ModelLoader, ModelTiling, canonicalize_state_dict

    if path.suffix.lower() != ".safetensors" and not pickle_allowed:
        raise RenderFailed(
            f"upscaler {path.name} is a file that can carry code; convert it to .safetensors, or set pickle_checkpoints "
            "under [generate]"
        )
    try:
        model = ModelLoader().load_from_state_dict(canonicalize_state_dict(_read_weights(path)))
        if not isinstance(model, ImageModelDescriptor):
            raise ValueError(f"it is for {model.purpose}, not for upscaling")
        if model.input_channels not in _CHANNELS or model.output_channels not in _CHANNELS:
            raise ValueError(f"it takes {model.input_channels} channels and gives {model.output_channels}")
        half = device.type == "cuda" and model.supports_half
        dtype = torch.float16 if half else torch.float32
        model.to(device, dtype)
        model.eval()
    except IndexdError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", path)
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RenderFailed(f"upscaler {path.name} cannot be used: {reason[:300]}") from error
    whole = model.tiling == ModelTiling.INTERNAL
    return UpscalerModel(path.stem, model, model.scale, model.input_channels, device, dtype, whole)


def _read_weights(path: Path) -> dict[str, Any]:
    """The tensors of a file; a pickle is read with weights only, and may wrap them in `params` or the like (spandrel unwraps)."""
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded
