"""Text hidden in the pixels of a lossless WebP: decoding it takes the whole picture, so this is done where others are decoded.

NovelAI's WebP has its settings in EXIF and hides them a second time; what stripped the EXIF left these. Lossy pictures have no
lowest bits, and without alpha or metadata of their own next to none of the lossless ones hide anything.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from indexd.errors import is_transient_os_error
from indexd.fs.safe_open import open_regular
from indexd.image_metadata.containers import stealth, webp
from indexd.image_metadata.containers.text_collector import TEXTS_BYTES_MAX

PIXELS_MAX = 1 << 26
"""8192 x 8192: no generator hides a text in more."""


def read_stealth_webp(path: bytes) -> str | None:
    """The text hidden in a lossless WebP with alpha; None for every other file, and where it cannot be decoded.

    Raises OSError where the machine is at fault.
    """
    try:
        with open_regular(path) as file:
            if not webp.is_lossless_with_alpha(file.read(webp.HEAD_BYTES)):
                return None
            file.seek(0)
            with Image.open(file, formats=("WEBP",)) as opened:
                if opened.width * opened.height > PIXELS_MAX:
                    return None
                pixels = np.asarray(opened)
    except Exception as error:
        if is_transient_os_error(error):
            raise
        # Whatever is wrong with it, the thumbnail says so.
        return None
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
