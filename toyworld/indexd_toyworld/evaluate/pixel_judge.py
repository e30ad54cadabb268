"""What a picture shows, told from its pixels alone: no trained judge has a say in colours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from indexd_toyworld.drawing import SIDE
from indexd_toyworld.world import BACKGROUNDS, COLOURS, Colour, DrawnShape

ImagePixels = NDArray[np.uint8]

RIM = 5
"""Pixels at the edges that show the background in nearly every scene."""
PATTERN_SHARE = 0.05
"""Of the rim, what each of a pattern's two colours must have at least."""
MAX_COLOUR_DISTANCE = 50.0
"""How far, in RGB, a pixel may lie from the colour it counts for."""
MIN_COLOUR_PIXELS = 10
"""So many pixels make a thing of that colour."""


def find_background(picture: ImagePixels) -> str:
    """The background that most of the rim's pixels belong to; of a pattern both colours must be there."""
    inside = np.ones(picture.shape[:2], bool)
    inside[RIM:-RIM, RIM:-RIM] = False
    names = [(name, place) for name, colours in BACKGROUNDS.items() for place in range(len(colours))]
    found = _nearest_colour(picture[inside], [BACKGROUNDS[name][place] for name, place in names])
    shares = {key: float((found == number).mean()) for number, key in enumerate(names)}
    whole = {}
    for name, colours in BACKGROUNDS.items():
        parts = [shares[name, place] for place in range(len(colours))]
        whole[name] = sum(parts) if len(parts) == 1 or min(parts) >= PATTERN_SHARE else 0.0
    return max(whole, key=lambda name: whole[name])


def find_colour(picture: ImagePixels, thing: DrawnShape, ground: str, things: int) -> str:
    """The colour of most pixels that are not the background's, in the half where the thing stands when there are two;
    "" where nothing stands out.
    """
    if things == 2:
        half = SIDE // 2
        picture = picture[:, :half] if thing.place == "left" else picture[:, half:]
    names: Mapping[str, Colour] = COLOURS | {f"ground {n}": c for n, c in enumerate(BACKGROUNDS[ground])}
    found = _nearest_colour(picture.reshape(-1, 3), list(names.values()))
    counts = {name: int((found == number).sum()) for number, name in enumerate(names) if name in COLOURS}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] >= MIN_COLOUR_PIXELS else ""


def _nearest_colour(pixels: NDArray[np.uint8], colours: list[Colour]) -> NDArray[np.intp]:
    """The number of the nearest colour of each pixel (n, 3); -1 where none is near."""
    far = pixels[:, None].astype(np.float32) - np.array(colours, np.float32)[None]
    distances = np.sqrt((far**2).sum(axis=2))
    nearest = distances.argmin(axis=1)
    return np.where(distances.min(axis=1) <= MAX_COLOUR_DISTANCE, nearest, -1)
