"""A picture cut into tiles that overlap: where they lie. Plain numbers, for admission as for the worker."""

from __future__ import annotations

import math
from dataclasses import dataclass


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


def tiles(width: int, height: int, side: int, overlap: int, step: int = 1) -> list[Tile]:
    """Tiles of `side` x `side` (less where the picture is smaller) that cover width x height, row by row from the left.

    They are spread evenly and overlap by `overlap` at least, save for what rounding to multiples of `step` takes; all
    lengths must be multiples of `step` then.
    """
    columns, rows = starts(width, side, overlap, step), starts(height, side, overlap, step)
    return [Tile(left, top, min(left + side, width), min(top + side, height)) for top in rows for left in columns]


def starts(length: int, side: int, overlap: int, step: int = 1) -> list[int]:
    """Where the tiles along one edge begin, in rising order."""
    if length <= side:
        return [0]
    count = math.ceil((length - overlap) / (side - overlap))
    last = length - side
    return [round(last * index / (count - 1) / step) * step for index in range(count)]
