"""How large an image becomes: the same arithmetic at admission as in the worker."""

from __future__ import annotations

import math
from dataclasses import dataclass

SizePx = tuple[int, int]
"""Width and height in pixels."""


def scale_size(size: SizePx, factor: float) -> SizePx:
    """Both sides times `factor`, rounded, at least one pixel."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


# An image cut into tiles that overlap: where they lie. Plain numbers, for admission as for the worker.


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle, right and bottom not included."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """As Pillow takes it."""
        return self.left, self.top, self.right, self.bottom


def split_into_tiles(width: int, height: int, tile_px: int, overlap_px: int, step: int = 1) -> list[Tile]:
    """Tiles of at most `tile_px` x `tile_px` that cover width x height, row by row from the left.

    They are spread evenly and overlap by at least `overlap_px`, less what rounding to multiples of `step` takes. All
    lengths must be multiples of `step`.
    """
    columns, rows = tile_offsets(width, tile_px, overlap_px, step), tile_offsets(height, tile_px, overlap_px, step)
    return [Tile(left, top, min(left + tile_px, width), min(top + tile_px, height)) for top in rows for left in columns]


def tile_offsets(length: int, tile_px: int, overlap_px: int, step: int = 1) -> list[int]:
    """Where the tiles along one edge begin, in rising order."""
    if length <= tile_px:
        return [0]
    count = math.ceil((length - overlap_px) / (tile_px - overlap_px))
    last = length - tile_px
    return [round(last * index / (count - 1) / step) * step for index in range(count)]
