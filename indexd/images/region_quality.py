"""How good a picture of a face a region is: large enough, sharp enough, and surely one.

Sharpness is the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000, "Diatom autofocusing in brightfield
microscopy") of the grey region at SHARPNESS_PX, so that it does not grow with the size. Quality is the geometric mean of
three shares between 0 and 1: size / GOOD_SIZE_PX (at most 1), sharpness / (sharpness + HALF_SHARPNESS), and the
detector's confidence; so one that is nearly nothing makes the whole so.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

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
