"""Faces cut out of drawings, as they come to the picture tower."""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd_toyworld.drawing import SIDE

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]


def padded_crop(pixels: Pixels, box: Box, padding: float, random: Random | None = None) -> Pixels:
    """The box with `padding` times its size around it, inside the picture; the middle square of that, 64x64.

    With `random` the edges are a little off, as a detector's are.
    """
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    off = [random.uniform(-0.06, 0.06) if random else 0.0 for _ in range(4)]
    edges = (
        max(0, round(left - (padding + off[0]) * width)),
        max(0, round(top - (padding + off[1]) * height)),
        min(pixels.shape[1], round(right + (padding + off[2]) * width)),
        min(pixels.shape[0], round(bottom + (padding + off[3]) * height)),
    )
    return np.asarray(_square(Image.fromarray(pixels).crop(edges)))


def _square(image: Image.Image) -> Image.Image:
    """What open_clip's transform does: the shorter side to 64, then the middle."""
    factor = SIDE / min(image.size)
    size = (max(SIDE, round(image.width * factor)), max(SIDE, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return image.crop((left, top, left + SIDE, top + SIDE))
