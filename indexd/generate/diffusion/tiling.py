"""Tiles blended without seams, and a model that is evaluated tile by tile.

A run over tiles follows MultiDiffusion (arXiv 2302.08113): at every step the model is evaluated for each tile, and where tiles
overlap the outputs are mixed before the step is taken. So neighbours never drift apart, whatever the sampler. There all tiles
weigh the same; here a tile's weight falls to nothing towards its inner edges, because a plain mean still jumps where a tile ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.guidance import GuidedModel, ModelHook, TileableModel
from indexd.generate.sampling.step_position import StepPosition
from indexd.images.geometry import Tile

_MIN_WEIGHT = 1e-6


def blend_tiles(parts: Iterable[tuple[Tile, torch.Tensor]], width: int, height: int, overlap: int) -> torch.Tensor:
    """One tensor (…, height, width) in float32 from parts (…, h, w) that cover it."""
    total: torch.Tensor | None = None
    weight = torch.zeros(height, width)
    for tile, part in parts:
        own = tile_weights(tile, width, height, overlap)
        if total is None:
            total = torch.zeros((*part.shape[:-2], height, width), device=part.device)
            weight = weight.to(part.device)
        place = (..., slice(tile.top, tile.bottom), slice(tile.left, tile.right))
        own = own.to(part.device)
        total[place] += part.float() * own
        weight[place] += own
    if total is None:
        raise ValueError("there are no tiles to blend")
    return total.div_(weight)


def tile_weights(tile: Tile, width: int, height: int, overlap: int) -> torch.Tensor:
    """The weight of each place of a tile, (h, w): 1 inside and at the edges of the image.

    Along an inner edge the outermost quarter of the overlap has weight 0, because a model has too little context there, and the
    next half rises linearly.
    """
    across = _edge_ramp(tile.left, tile.right, width, overlap)
    down = _edge_ramp(tile.top, tile.bottom, height, overlap)
    return (down[:, None] * across[None, :]).clamp(min=_MIN_WEIGHT)


def _edge_ramp(first: int, last: int, length: int, overlap: int) -> torch.Tensor:
    places = torch.arange(last - first) + 0.5
    level = torch.ones(last - first)
    if first > 0:
        level = torch.minimum(level, (places - overlap / 4) / (overlap / 2))
    if last < length:
        level = torch.minimum(level, (last - first - places - overlap / 4) / (overlap / 2))
    return level.clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a run is cut: `grid` and `overlap` count in latents, `conditionings` are one for all tiles or one a tile.

    `hooks` are those of each tile.
    """

    grid: tuple[Tile, ...]
    overlap: int
    conditionings: tuple[TextConditioning, ...]
    hooks: tuple[tuple[ModelHook, ...], ...]

    def wrap(self, guided: TileableModel, scale: int, after_tile: Callable[[], None]) -> TiledModel:
        """The model evaluated tile by tile, each with the tile's size in pixels (latents times `scale`)."""
        texts = self.conditionings * len(self.grid) if len(self.conditionings) == 1 else self.conditionings
        parts = [
            guided.for_part(text, ((tile.bottom - tile.top) * scale, (tile.right - tile.left) * scale), hooks)
            for tile, text, hooks in zip(self.grid, texts, self.hooks, strict=True)
        ]
        return TiledModel(parts, self.grid, self.overlap, after_tile)


@dataclass(frozen=True, slots=True)
class TiledModel:
    """Outputs for whole latents, blended from those for their tiles. `after_tile` is called after each tile."""

    guided: Sequence[GuidedModel]
    grid: Sequence[Tile]
    overlap: int
    after_tile: Callable[[], None]

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The guided output and the one for the negative text alone (None where the run is not guided)."""
        outputs: list[torch.Tensor] = []
        negatives: list[torch.Tensor] = []
        for guided, tile in zip(self.guided, self.grid, strict=True):
            part = latents[..., tile.top : tile.bottom, tile.left : tile.right]
            output, negative = guided.with_negative(part, timestep, position)
            outputs.append(output)
            if negative is not None:
                negatives.append(negative)
            self.after_tile()
        return self._blend(outputs, latents), self._blend(negatives, latents) if negatives else None

    def _blend(self, parts: Sequence[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        if len(parts) == 1:
            return parts[0]
        height, width = like.shape[-2:]
        return blend_tiles(zip(self.grid, parts, strict=True), width, height, self.overlap).to(parts[0].dtype)
