"""Text hidden in the pixels of a lossless WebP: read from the pixels that are decoded for the thumbnail.

NovelAI's WebP has its settings in EXIF and hides them a second time; a tool that strips the EXIF leaves these. A lossy
image keeps no lowest bits, and next to no lossless one without alpha hides anything.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from indexd.image_metadata.containers import stealth
from indexd.image_metadata.containers.text_collector import TEXTS_BYTES_MAX

PIXELS_MAX = 1 << 26
"""8192 x 8192: no generator hides a text in more."""


def read_stealth_pixels(opened: Image.Image) -> str | None:
    """The text hidden in the lowest bits of a decoded RGBA image; None where there is none."""
    if opened.width * opened.height > PIXELS_MAX:
        return None
    pixels = np.asarray(opened)
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        return None
    height, width = pixels.shape[:2]
    for kind, planes in stealth.PLANES.items():

        def bits(count: int, planes: tuple[int, ...] = planes) -> bytes | None:
            columns = -(-count // (len(planes) * height))
            if columns > width or count > 8 * TEXTS_BYTES_MAX:
                return None
            lowest = pixels[:, :columns][:, :, list(planes)] & 1
            return np.packbits(lowest.transpose(1, 0, 2).ravel()[:count]).tobytes()

        if (text := stealth.read_stealth_payload(kind, bits)) is not None:
            return text[0]
    return None
