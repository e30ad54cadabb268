"""Draws scenes with Pillow at four times the size and scales them down. Coordinates are those of a 64-pixel image."""

from __future__ import annotations

from functools import cache, lru_cache
from math import cos, pi, radians, sin
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from indexd_toyworld.face_drawing import draw_face
from indexd_toyworld.pen import Pen
from indexd_toyworld.world import BACKGROUNDS, COLOURS, Colour, DrawnShape, Scene

RgbPixels = NDArray[np.uint8]

SIDE = 64
SUPERSAMPLING = 4
PATTERN_PERIODS = {"striped": 12, "dotted": 12, "checkered": 16}
"""Period of each pattern in pixels."""

RADII = {("small", 1): 10.0, ("big", 1): 19.0, ("small", 2): 8.0, ("big", 2): 14.0}
"""Radius by size word and number of things."""
OFFSETS = {"middle": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
ONE_FACE_RADIUS, TWO_FACES_RADIUS = 16.5, 12.5
SMALLEST_FACE_PX = 16
"""Size of the smallest face that a detector must find; heads of a pair are 24 pixels wide."""


def draw(scene: Scene, side: int = SIDE) -> RgbPixels:
    """The scene as RGB pixels (side, side, 3), deterministic."""
    scale = side * SUPERSAMPLING / SIDE
    random = Random(scene.seed)
    image = _draw_background(scene.background, round(side * SUPERSAMPLING), scale, random)
    pen = Pen(ImageDraw.Draw(image), scale)
    for (x, y, radius), thing in zip(_shape_circles(scene), scene.things, strict=True):
        _draw_shape(pen, thing, x, y, radius, random.uniform(-10, 10))
    for (x, y, radius), face in zip(_head_circles(scene), scene.faces, strict=True):
        draw_face(pen, face.look, face.expression, x, y, radius)
    small = image.reduce(SUPERSAMPLING)
    return _apply_flaw(small, scene.flaw, random) if scene.flaw else np.asarray(small)


def face_boxes(scene: Scene, side: int = SIDE) -> list[tuple[str, float, float, float, float]]:
    """Boxes of the heads without hats: (who, left, top, right, bottom) in pixels."""
    unit = side / SIDE
    return [
        (face.who, unit * (x - radius), unit * (y - radius), unit * (x + radius), unit * (y + radius))
        for (x, y, radius), face in zip(_head_circles(scene), scene.faces, strict=True)
    ]


def _shape_circles(scene: Scene) -> list[tuple[float, float, float]]:
    """Centre and radius of each thing.

    Each thing has its own random generator, so changing one does not move the other.
    """
    random = Random(scene.seed + 1)
    places = []
    for thing in scene.things:
        radius = RADII[thing.size, len(scene.things)] * random.uniform(0.94, 1.06)
        across, down = OFFSETS[thing.place]
        reach = 16.0 if len(scene.things) == 2 else 29.0 - radius
        x = SIDE / 2 + across * reach + random.uniform(-1, 1)
        y = SIDE / 2 + down * reach + random.uniform(-1.5, 1.5)
        places.append((x, y, radius))
    return places


def _head_circles(scene: Scene) -> list[tuple[float, float, float]]:
    """Centre and radius of each head, slightly below the middle to leave space for a hat."""
    random = Random(scene.seed + 2)
    two = len(scene.faces) == 2
    places = []
    for face in scene.faces:
        radius = (TWO_FACES_RADIUS if two else ONE_FACE_RADIUS) * random.uniform(0.95, 1.05)
        x = SIDE / 2 + OFFSETS[face.place][0] * 15.5 + random.uniform(-1, 1) * (1 if two else 4)
        y = SIDE / 2 + 4 + random.uniform(-1, 1) * (1.5 if two else 2.5)
        places.append((x, y, radius))
    return places


def _draw_background(name: str, pixels: int, scale: float, random: Random) -> Image.Image:
    """Draw the background with a random pattern offset."""
    if name not in PATTERN_PERIODS:
        return Image.new("RGB", (pixels, pixels), BACKGROUNDS[name][0])
    tile = round(PATTERN_PERIODS[name] * scale)
    left, top = random.randrange(tile), random.randrange(tile)
    return _pattern(name, pixels + tile, tile).crop((left, top, left + pixels, top + pixels))


@lru_cache(maxsize=16)
def _pattern(name: str, pixels: int, tile: int) -> Image.Image:
    first, second = BACKGROUNDS[name]
    image = Image.new("RGB", (pixels, pixels), first)
    pen = ImageDraw.Draw(image)
    half = tile // 2
    for left in range(0, pixels, tile):
        if name == "striped":
            pen.rectangle((left, 0, left + half - 1, pixels), fill=second)
            continue
        for top in range(0, pixels, tile):
            if name == "dotted":
                rim = tile // 4
                pen.ellipse((left + rim, top + rim, left + tile - rim, top + tile - rim), fill=second)
            else:
                pen.rectangle((left, top, left + half - 1, top + half - 1), fill=second)
                pen.rectangle((left + half, top + half, left + tile - 1, top + tile - 1), fill=second)
    return image


def _draw_shape(pen: Pen, thing: DrawnShape, x: float, y: float, radius: float, tilt: float) -> None:
    """A filled shape with a thin edge: darker than its colour, or lighter for black."""
    colour = COLOURS[thing.colour]
    rim = (120, 120, 124) if max(colour) < 60 else _shade(colour, 0.4)
    width = max(0.9, radius * 0.09)
    if thing.shape == "circle":
        pen.disc(x, y, radius, rim)
        pen.disc(x, y, radius - width, colour)
    elif thing.shape == "ring":
        pen.ring(x, y, radius, 2 * width + radius * 0.3, rim)
        pen.ring(x, y, radius - width, radius * 0.3, colour)
    else:
        corners = outline(thing.shape, x, y, radius, tilt)
        pen.polygon(corners, colour)
        pen.line([*corners, corners[0], corners[1]], rim, width)


def outline(shape: str, x: float, y: float, radius: float, tilt: float) -> list[tuple[float, float]]:
    """Corners of a polygonal shape, clockwise, rotated by `tilt` degrees."""
    turn = radians(tilt)
    return [
        (x + radius * (across * cos(turn) - down * sin(turn)), y + radius * (across * sin(turn) + down * cos(turn)))
        for across, down in _unit_outline(shape)
    ]


@cache
def _unit_outline(shape: str) -> tuple[tuple[float, float], ...]:
    if shape == "square":
        return ((-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84))
    if shape == "triangle":
        return ((0.0, -0.98), (0.98, 0.78), (-0.98, 0.78))
    if shape == "star":
        return tuple(
            (r * sin(k * pi / 5), 0.06 - r * cos(k * pi / 5)) for k in range(10) for r in [1.05 if k % 2 == 0 else 0.44]
        )
    if shape == "cross":
        a, b = 0.32, 0.98
        return ((-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a))  # fmt: skip
    if shape == "heart":  # the parametric heart curve x = 16 sin^3 t
        steps = [2 * pi * k / 36 for k in range(36)]
        return tuple(
            (sin(t) ** 3, -0.08 - (13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)) / 16.5) for t in steps
        )
    if shape == "moon":
        outer = [(-0.1 + cos(t), sin(t)) for t in (radians(60 + 240 * k / 24) for k in range(25))]
        inner = [(0.4 + 0.866 * cos(t), 0.866 * sin(t)) for t in (radians(270 - 180 * k / 18) for k in range(1, 18))]
        return tuple(outer + inner)
    raise ValueError(f"{shape!r} has no corners")


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (round(part * factor) for part in colour)
    return (red, green, blue)


def _apply_flaw(image: Image.Image, flaw: str, random: Random) -> RgbPixels:
    """Damage the image: blur it, cut off its lower part, or add noise."""
    if flaw == "blurred":
        return np.asarray(image.filter(ImageFilter.GaussianBlur(image.width / SIDE * random.uniform(2.0, 3.0))))
    pixels = np.array(image)
    if flaw == "cut":
        pixels[round(image.height * random.uniform(0.5, 0.65)) :] = 0
        return pixels
    noise = np.random.default_rng(random.getrandbits(32)).normal(0.0, 45.0, pixels.shape)
    clipped: RgbPixels = (pixels + noise).clip(0, 255).astype(np.uint8)
    return clipped
