"""A face cut out of its picture for an embedder: a square around it, and grey around the face if wanted."""

from __future__ import annotations

from PIL import Image, ImageDraw

from indexd.worker.calls import Box

BACKGROUND_GRAY = (128, 128, 128)


def crop_face(image: Image.Image, box: Box, padding: float, *, gray_background: bool) -> Image.Image:
    """The square around `box` with `padding` (a share of the longer side) on each side, from an upright RGB picture.

    At the edge the square is moved into the picture; it is never larger than that. `grey` paints what lies outside the
    ellipse that the padded box holds.
    """
    left, top, width, height = box_to_pixels(image, box)
    room = padding * max(width, height)
    side = max(1, min(round(max(width, height) + 2 * room), image.width, image.height))
    x = _clamp_offset(left + width / 2 - side / 2, image.width - side)
    y = _clamp_offset(top + height / 2 - side / 2, image.height - side)
    crop = image.crop((x, y, x + side, y + side))
    if not gray_background:
        return crop
    mask = Image.new("L", crop.size, 0)
    ellipse = (left - room - x, top - room - y, left + width + room - x, top + height + room - y)
    ImageDraw.Draw(mask).ellipse(ellipse, fill=255)
    return Image.composite(crop, Image.new("RGB", crop.size, BACKGROUND_GRAY), mask)


def box_to_pixels(image: Image.Image, box: Box) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box in pixels of the picture."""
    return box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height


def _clamp_offset(offset: float, max_offset: int) -> int:
    return max(0, min(round(offset), max_offset))
