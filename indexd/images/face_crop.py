"""A face cut out of its image for an embedder: a square around it, and grey around the face if wanted."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from indexd.worker.calls import Box

BACKGROUND_GRAY = (128, 128, 128)


def crop_face(image: Image.Image, box: Box, padding: float, *, gray_background: bool) -> Image.Image:
    """The square around `box` with `padding` (a share of the longer side) on each side, from an upright RGB image.

    At the edge the square is moved into the image; it is never larger than that. `gray_background` paints what lies outside
    the ellipse in the padded box.
    """
    left, top, width, height = box_to_pixels(image, box)
    margin = padding * max(width, height)
    side = max(1, min(round(max(width, height) + 2 * margin), image.width, image.height))
    x = _clamp_offset(left + width / 2 - side / 2, image.width - side)
    y = _clamp_offset(top + height / 2 - side / 2, image.height - side)
    crop = image.crop((x, y, x + side, y + side))
    if not gray_background:
        return crop
    mask = Image.new("L", crop.size, 0)
    ellipse = (left - margin - x, top - margin - y, left + width + margin - x, top + height + margin - y)
    ImageDraw.Draw(mask).ellipse(ellipse, fill=255)
    return Image.composite(crop, Image.new("RGB", crop.size, BACKGROUND_GRAY), mask)


def box_to_pixels(image: Image.Image, box: Box) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box in pixels of the image."""
    return box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height


def _clamp_offset(offset: float, max_offset: int) -> int:
    return max(0, min(round(offset), max_offset))


# Sharpness is the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000, "Diatom autofocusing in brightfield
# microscopy") of the grey region at SHARPNESS_PX, so that it does not grow with the size. Quality is the geometric mean of
# three factors between 0 and 1: size / GOOD_SIZE_PX (at most 1), sharpness / (sharpness + HALF_SCORE_SHARPNESS), and the
# detector's confidence. One factor near zero makes the quality near zero.

SHARPNESS_PX = 112
GOOD_SIZE_PX = 112
HALF_SCORE_SHARPNESS = 100.0


def sharpness(region: Image.Image) -> float:
    """The variance of the Laplacian (4 neighbours) of a region, 0 for a plain one."""
    side = min(SHARPNESS_PX, max(region.size))
    scale = side / max(region.size)
    size = (max(3, round(region.width * scale)), max(3, round(region.height * scale)))
    grey = np.asarray(region.convert("L").resize(size, Image.Resampling.BILINEAR), np.float32)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def face_quality(size_px: int, sharpness_value: float, confidence: float) -> float:
    """0 (useless) to 1, from the shorter side in pixels, the sharpness and the detector's confidence."""
    shares = (
        min(1.0, size_px / GOOD_SIZE_PX),
        sharpness_value / (sharpness_value + HALF_SCORE_SHARPNESS),
        min(1.0, confidence),
    )
    return float(np.prod(shares) ** (1 / 3))
