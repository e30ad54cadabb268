"""Classifies colours and backgrounds by pixels, without a trained model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from indexd_toyworld.drawing import SIDE
from indexd_toyworld.world import BACKGROUNDS, COLOURS, Colour, DrawnShape

ImagePixels = NDArray[np.uint8]

RIM = 5
"""Width in pixels of the edge that shows the background in nearly every scene."""
PATTERN_SHARE = 0.05
"""Minimum share of the edge pixels for each of a pattern's two colours."""
MAX_COLOUR_DISTANCE = 50.0
"""Maximum RGB distance of a pixel to the colour it counts for."""
MIN_COLOUR_PIXELS = 10
"""Minimum number of pixels of a coloured thing."""


def find_background(image: ImagePixels) -> str:
    """The background of most edge pixels; a pattern needs both of its colours."""
    inside = np.ones(image.shape[:2], bool)
    inside[RIM:-RIM, RIM:-RIM] = False
    names = [(name, place) for name, colours in BACKGROUNDS.items() for place in range(len(colours))]
    found = _nearest_colour(image[inside], [BACKGROUNDS[name][place] for name, place in names])
    shares = {key: float((found == number).mean()) for number, key in enumerate(names)}
    whole = {}
    for name, colours in BACKGROUNDS.items():
        parts = [shares[name, place] for place in range(len(colours))]
        whole[name] = sum(parts) if len(parts) == 1 or min(parts) >= PATTERN_SHARE else 0.0
    return max(whole, key=lambda name: whole[name])


def find_colour(image: ImagePixels, thing: DrawnShape, ground: str, things: int) -> str:
    """The most frequent colour that is not the background's, in the thing's half when there are two; "" when none stands
    out.
    """
    if things == 2:
        half = SIDE // 2
        image = image[:, :half] if thing.place == "left" else image[:, half:]
    names: Mapping[str, Colour] = COLOURS | {f"ground {n}": c for n, c in enumerate(BACKGROUNDS[ground])}
    found = _nearest_colour(image.reshape(-1, 3), list(names.values()))
    counts = {name: int((found == number).sum()) for number, name in enumerate(names) if name in COLOURS}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] >= MIN_COLOUR_PIXELS else ""


def _nearest_colour(pixels: NDArray[np.uint8], colours: list[Colour]) -> NDArray[np.intp]:
    """Index of the nearest colour of each pixel (n, 3); -1 when none is near."""
    far = pixels[:, None].astype(np.float32) - np.array(colours, np.float32)[None]
    distances = np.sqrt((far**2).sum(axis=2))
    nearest = distances.argmin(axis=1)
    return np.where(distances.min(axis=1) <= MAX_COLOUR_DISTANCE, nearest, -1)
