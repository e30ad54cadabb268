"""Images drawn from numbers:

scenes of a prompt in several seeds, portraits on a plain background, and too plain ones.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 512
Rng = np.random.Generator


def scene_image(prompt: int, seed: int) -> Image.Image:
    """A scene: the prompt decides its content (background, horizon, things), the seed positions and texture."""
    what, where = np.random.default_rng(prompt), np.random.default_rng((prompt, seed))
    sky, ground = what.integers(0, 255, 3), what.integers(0, 255, 3)
    horizon = int(SIDE * (what.uniform(0.35, 0.7) + where.normal(0, 0.03)))
    down = np.linspace(0, 1, SIDE)[:, None, None]
    levels = np.broadcast_to(sky * (1 - 0.6 * down) + 40 * down, (SIDE, SIDE, 3)).copy()
    levels[horizon:] = ground * np.linspace(1, 0.5, SIDE - horizon)[:, None, None]
    for octave in range(2, 7):
        noise = where.normal(0, 40 / octave, (2**octave, 2**octave)).astype(np.float32)
        levels += np.asarray(Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., None]
    image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(what.integers(2, 6))):
        x = (what.uniform(0.15, 0.85) + where.normal(0, 0.06)) * SIDE
        y = (what.uniform(0.2, 0.85) + where.normal(0, 0.06)) * SIDE
        r = abs(what.uniform(0.05, 0.2) * (1 + where.normal(0, 0.15))) * SIDE
        colour = _random_colour(what, 0, 255)
        if what.integers(0, 2):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        else:
            draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def portrait_image(number: int) -> Image.Image:
    """Head and shoulders in the centre of a plain background: a layout that many images share."""
    chance = np.random.default_rng((7, number))
    image = Image.new("RGB", (SIDE, SIDE), _random_colour(chance, 150, 255))
    draw = ImageDraw.Draw(image)
    middle, down = SIDE / 2 + chance.normal(0, 12), chance.normal(0, 12)
    draw.ellipse((middle - 90, 120 + down, middle + 90, 340 + down), fill=_random_colour(chance, 120, 240))
    shoulders = [(middle - 170, 512), (middle - 110, 360 + down), (middle + 110, 360 + down), (middle + 170, 512)]
    draw.polygon(shoulders, fill=_random_colour(chance, 0, 200))
    draw.ellipse((middle - 100, 90 + down, middle + 100, 200 + down), fill=_random_colour(chance, 0, 120))
    return image


def circle_image(number: int) -> Image.Image:
    """One disc on a grey background."""
    chance = np.random.default_rng((8, number))
    image = Image.new("RGB", (SIDE, SIDE), (240, 240, 240))
    x, y = chance.uniform(0.2, 0.8, 2) * SIDE
    r = chance.uniform(0.05, 0.2) * SIDE
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=_random_colour(chance, 0, 200))
    return image


def gradient_image(number: int) -> Image.Image:
    """A linear grey gradient in some direction."""
    chance = np.random.default_rng((9, number))
    angle, depth = chance.uniform(0, 6.28), chance.uniform(60, 195)
    down, across = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    levels = (np.cos(angle) * across + np.sin(angle) * down) * depth + 60
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")


def flat_image(number: int) -> Image.Image:
    """One colour (the first is black) with encoder noise."""
    return reencode(
        Image.new("RGB", (SIDE, SIDE), (number * 37 % 256, number * 91 % 256, number * 11 % 256)), "JPEG", 60
    )


def dark_image(number: int) -> Image.Image:
    """An almost black frame with a little noise."""
    levels = np.abs(np.random.default_rng((10, number)).normal(0, 2, (SIDE, SIDE, 3)))
    return Image.fromarray(levels.astype(np.uint8))


def encode(image: Image.Image, kind: str, quality: int) -> bytes:
    """The bytes of a lossy file of the image."""
    file = io.BytesIO()
    image.convert("RGB").save(file, kind, quality=quality)
    return file.getvalue()


def reencode(image: Image.Image, kind: str, quality: int) -> Image.Image:
    """The image after lossy encoding."""
    return Image.open(io.BytesIO(encode(image, kind, quality))).convert("RGB")


def rescale(image: Image.Image, factor: float) -> Image.Image:
    """The image at another size."""
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def crop_edges(image: Image.Image, share: float) -> Image.Image:
    """The image without half of `share` of its width and height at each edge."""
    x, y = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((x, y, image.width - x, image.height - y))


def _random_colour(chance: Rng, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(level) for level in chance.integers(low, high, 3))
    return red, green, blue
