"""Control maps that OpenCV makes alone, each (h, w, 3) uint8, white on black.

Canny is what ControlNets for canny were trained with. Lineart, softedge and scribble are approximations: those ControlNets
were trained with maps of networks of their own, and take these well, not perfectly.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RgbArray = NDArray[np.uint8]

# Shares of the brightest edge, and sizes for an image of a thousand pixels.
_FULL_EDGE_PERCENTILE = 99.0
_SCRIBBLE_SHARE = 0.35
_NOMINAL_SIDE = 1000


def canny(image: RgbArray, low: int, high: int) -> RgbArray:
    """cv2.Canny of the image (RGB) with both thresholds."""
    return _grey_to_rgb(cv2.Canny(image, low, high))


def lineart(image: RgbArray) -> RgbArray:
    """What is darker than its surroundings, as a pencil would draw it: division by a blurred self ("dodging")."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    around = cv2.GaussianBlur(grey, (0, 0), _scale_to_image(image, 6.0))
    paper = cv2.divide(grey, np.maximum(around, 1), scale=255)
    lines = (255 - paper).astype(np.float32)
    return _grey_to_rgb(_stretch_contrast(lines))


def softedge(image: RgbArray) -> RgbArray:
    """The steepness of brightness, smoothed: wide soft edges."""
    return _grey_to_rgb(_stretch_contrast(_gradient_magnitude(image)))


def scribble(image: RgbArray) -> RgbArray:
    """The strongest edges alone, as lines of one width."""
    strong = _stretch_contrast(_gradient_magnitude(image)) >= round(255 * _SCRIBBLE_SHARE)
    width = max(1, round(_scale_to_image(image, 2.0)))
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    joined = cv2.morphologyEx(strong.astype(np.uint8) * 255, cv2.MORPH_CLOSE, brush)
    return _grey_to_rgb(joined)


def _gradient_magnitude(image: RgbArray) -> NDArray[np.float32]:
    """The largest gradient over the colours, after a blur that hides grain."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), _scale_to_image(image, 2.0))
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, ksize=3) for dx in (1, 0))
    steep: NDArray[np.float32] = np.hypot(across, down).max(axis=-1)
    return steep


def _stretch_contrast(edges: NDArray[Any]) -> RgbArray:
    """From 0 to 255, so that an image of low contrast has edges too; an image without any stays black."""
    full = float(np.percentile(edges, _FULL_EDGE_PERCENTILE))
    full = full if full > 0 else float(edges.max(initial=0.0))
    if full < 1.0:
        return np.zeros(edges.shape, np.uint8)
    return np.clip(edges * (255.0 / full), 0, 255).round().astype(np.uint8)


def _scale_to_image(image: RgbArray, nominal: float) -> float:
    side: int = min(image.shape[:2])
    return max(0.6, nominal * side / _NOMINAL_SIDE)


def _grey_to_rgb(grey: Any) -> RgbArray:
    return np.repeat(np.asarray(grey, np.uint8)[:, :, None], 3, axis=2)
