"""Tiles put together without seams, and a UNet that is asked tile by tile.

A run over tiles follows MultiDiffusion (arXiv 2302.08113): at every step each tile gets its answer, and where tiles overlap the
answers are mixed before the step is taken. So neighbours never drift apart, whatever the sampler, and there is nothing to
mend afterwards. There all tiles weigh the same; here a tile's weight falls to nothing towards its inner edges, because a
plain mean still jumps where one tile ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from indexd.generate.diffusion.guidance import GuidedUnet, UnetHook
from indexd.generate.sdxl.text_encoding import StepPosition, TextConditioning
from indexd.images.geometry import Tile

_MIN_WEIGHT = 1e-6


def blend_tiles(parts: Iterable[tuple[Tile, torch.Tensor]], width: int, height: int, overlap: int) -> torch.Tensor:
    """One tensor (…, height, width) in float32 from parts (…, h, w) that cover it."""
    total: torch.Tensor | None = None
    weight = torch.zeros(height, width)
    for tile, part in parts:
        mine = tile_weights(tile, width, height, overlap)
        if total is None:
            total = torch.zeros((*part.shape[:-2], height, width), device=part.device)
            weight = weight.to(part.device)
        place = (..., slice(tile.top, tile.bottom), slice(tile.left, tile.right))
        mine = mine.to(part.device)
        total[place] += part.float() * mine
        weight[place] += mine
    if total is None:
        raise ValueError("there are no parts to join")
    return total.div_(weight)


def tile_weights(tile: Tile, width: int, height: int, overlap: int) -> torch.Tensor:
    """How much each place of a tile counts, (h, w): 1 inside and at the picture's own edges.

    Along an inner edge the outermost quarter of the overlap counts nothing (what a model sees too little around), and the
    next half rises evenly.
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
    """How a run is cut: `grid` and `overlap` count in latents, `texts` are one for all tiles or one a tile.

    `influences` are what bears on each tile beside its text.
    """

    grid: tuple[Tile, ...]
    overlap: int
    conditionings: tuple[TextConditioning, ...]
    hooks: tuple[tuple[UnetHook, ...], ...]

    def wrap(self, guided: GuidedUnet, scale: int, after_tile: Callable[[], None]) -> TiledUnet:
        """The UNet asked tile by tile; SDXL is told the size of the tile (latents times `scale`)."""
        texts = self.conditionings * len(self.grid) if len(self.conditionings) == 1 else self.conditionings
        each = [
            replace(
                guided,
                conditioning=text,
                size=((tile.bottom - tile.top) * scale, (tile.right - tile.left) * scale),
                hooks=influences,
            )
            for tile, text, influences in zip(self.grid, texts, self.hooks, strict=True)
        ]
        return TiledUnet(each, self.grid, self.overlap, after_tile)


@dataclass(frozen=True, slots=True)
class TiledUnet:
    """Answers for whole latents, put together from those for their tiles. `between` is called after each tile."""

    guided: Sequence[GuidedUnet]
    grid: Sequence[Tile]
    overlap: int
    after_tile: Callable[[], None]

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition) -> torch.Tensor:
        """The guided answer."""
        return self.with_negative(latents, timestep, position)[0]

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The guided answer and the one for the negative text alone (None where the run is not guided)."""
        answers: list[torch.Tensor] = []
        negatives: list[torch.Tensor] = []
        for guided, tile in zip(self.guided, self.grid, strict=True):
            part = latents[..., tile.top : tile.bottom, tile.left : tile.right]
            answer, negative = guided.with_negative(part, timestep, position)
            answers.append(answer)
            if negative is not None:
                negatives.append(negative)
            self.after_tile()
        return self._blend(answers, latents), self._blend(negatives, latents) if negatives else None

    def _blend(self, parts: Sequence[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        if len(parts) == 1:
            return parts[0]
        height, width = like.shape[-2:]
        return blend_tiles(zip(self.grid, parts, strict=True), width, height, self.overlap).to(parts[0].dtype)
