"""Images with boxes of their faces: one scene, or several side by side, like larger generated images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd_toyworld.drawing import draw, face_boxes
from indexd_toyworld.scene_sampling import Split, scenes, unnamed_portraits

PixelBox = tuple[float, float, float, float]

GRIDS = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3))
"""Scenes across and down."""
GRID_PROBABILITIES = (0.5, 0.08, 0.08, 0.16, 0.06, 0.06, 0.06)
SCENE_SIDES = (64, 96, 128)
UNNAMED_SHARE = 0.15
"""Share of scenes with portraits of strangers, so that the detector learns faces in general and not ten faces."""


@dataclass(frozen=True, slots=True)
class FaceCanvas:
    """An image (height, width, 3), uint8, and its faces as (left, top, right, bottom) in pixels."""

    pixels: NDArray[np.uint8]
    faces: tuple[PixelBox, ...]


def canvases(seed: int, count: int, split: Split) -> Iterator[FaceCanvas]:
    """`count` canvases of 64 to 384 pixels a side, deterministic for seed and split."""
    random = np.random.default_rng([seed, count])
    grids = [GRIDS[place] for place in random.choice(len(GRIDS), size=count, p=GRID_PROBABILITIES)]
    most = sum(across * down for across, down in grids)
    named, strange = iter(scenes(seed, most, split=split)), iter(unnamed_portraits(seed, most))
    for across, down in grids:
        side = int(random.choice(SCENE_SIDES))
        pixels = np.zeros((down * side, across * side, 3), np.uint8)
        faces: list[PixelBox] = []
        for row in range(down):
            for column in range(across):
                scene = next(strange if random.random() < UNNAMED_SHARE else named)
                top, left = row * side, column * side
                pixels[top : top + side, left : left + side] = _soften(draw(scene, side), random)
                faces += [(left + box[1], top + box[2], left + box[3], top + box[4]) for box in face_boxes(scene, side)]
        yield FaceCanvas(pixels, tuple(faces))


def _soften(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Soften half of the drawings and add a little noise, like the output of a VAE decoder."""
    if random.random() < 0.5:
        return pixels
    side = pixels.shape[0]
    small = round(side * random.uniform(0.5, 0.9))
    image = Image.fromarray(pixels).resize((small, small), Image.Resampling.BILINEAR)
    soft = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    noisy = soft + random.normal(0.0, random.uniform(0.0, 6.0), soft.shape)
    return noisy.clip(0, 255).astype(np.uint8)
