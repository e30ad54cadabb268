"""A face cut out of its picture for an embedder: a square around it, and grey around the face if wanted."""

from __future__ import annotations

from PIL import Image, ImageDraw

from indexd.worker.calls import Box

GREY = (128, 128, 128)


def face_crop(picture: Image.Image, box: Box, padding: float, *, grey: bool) -> Image.Image:
    """The square around `box` with `padding` (a share of the longer side) on each side, from an upright RGB picture.

    At the edge the square is moved into the picture; it is never larger than that. `grey` paints what lies outside the
    ellipse that the padded box holds.
    """
    left, top, width, height = in_pixels(picture, box)
    room = padding * max(width, height)
    side = max(1, min(round(max(width, height) + 2 * room), picture.width, picture.height))
    x = _moved_in(left + width / 2 - side / 2, picture.width - side)
    y = _moved_in(top + height / 2 - side / 2, picture.height - side)
    crop = picture.crop((x, y, x + side, y + side))
    if not grey:
        return crop
    mask = Image.new("L", crop.size, 0)
    ellipse = (left - room - x, top - room - y, left + width + room - x, top + height + room - y)
    ImageDraw.Draw(mask).ellipse(ellipse, fill=255)
    return Image.composite(crop, Image.new("RGB", crop.size, GREY), mask)


def in_pixels(picture: Image.Image, box: Box) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box in pixels of the picture."""
    return box[0] * picture.width, box[1] * picture.height, box[2] * picture.width, box[3] * picture.height


def _moved_in(at: float, last: int) -> int:
    return max(0, min(round(at), last))
