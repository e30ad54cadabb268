"""What an image looks like, in 64 bytes that survive re-encoding, scaling and a slight crop.

The first 32 bytes are the signs of the 256 lowest frequencies of the brightness (a discrete cosine transform of 64x64
pixels, after Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010), lowest first; the
other 32 are the mean blue and red difference of 4x4 cells. Why not the ImageHash package: see docs/duplicates.md.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

HASH_VERSION = "1"
"""Goes up whenever the same image would get another hash: hashes of different versions are never compared."""
HASH_BYTES = 64
LUMA_HASH_BYTES = 32

_SIDE_PX = 64
_FREQUENCIES = 256
_COLOR_GRID_SIDE = 4
# In grey levels of the orthonormal transform. Weaker frequencies are what encoders leave or take away; counted as signs
# they are noise: with 0 instead of 4, one in forty copies at JPEG 50 was lost, and flat images had random hashes.
_DEAD_ZONE = 4.0
# Fewer frequencies than this are a flat ground, a frame gone black, a plain gradient: nothing to recognise it by.
_MIN_SET_BITS = 24


def compute_perceptual_hash(image: Image.Image) -> bytes:
    """The hash of an image in mode RGB or RGBA (64 bytes), or b"" where it is too plain to be recognised.

    256 to 512 pixels on the longer side are enough; a thumbnail gives the same hash as the image within a few bits.
    """
    from PIL.Image import Resampling

    flat = _flatten_on_white(image)
    small = flat.convert("L").resize((_SIDE_PX, _SIDE_PX), Resampling.LANCZOS)
    basis, rows, columns = _cosine_basis()
    levels = np.asarray(small, np.float32)
    strengths = (basis @ levels @ basis.T)[rows, columns]
    bits = strengths > _DEAD_ZONE
    if int(bits.sum()) < _MIN_SET_BITS:
        return b""
    cells = flat.convert("YCbCr").resize((_COLOR_GRID_SIDE, _COLOR_GRID_SIDE), Resampling.BOX)
    return np.packbits(bits).tobytes() + np.asarray(cells, np.uint8)[:, :, 1:].tobytes()


def _flatten_on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    from PIL.Image import alpha_composite, new

    return alpha_composite(new("RGBA", image.size, "white"), image).convert("RGB")


@cache
def _cosine_basis() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The cosines, float32 (k, 64), and row and column of the frequencies that are kept, the lowest first.

    The mean brightness, at (0, 0), is left out.
    """
    waves = ((row, column) for row in range(_SIDE_PX) for column in range(_SIDE_PX) if row or column)
    kept = np.array(sorted(waves, key=lambda wave: (sum(wave), abs(wave[0] - wave[1]), wave))[:_FREQUENCIES])
    count = int(kept.max()) + 1
    angle = np.pi * np.arange(count)[:, None] * (2 * np.arange(_SIDE_PX)[None, :] + 1) / (2 * _SIDE_PX)
    return (np.cos(angle) * np.sqrt(2 / _SIDE_PX)).astype(np.float32), kept[:, 0], kept[:, 1]
