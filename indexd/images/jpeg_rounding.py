"""Whether a JPEG file is an encoding of another image of the same size, judged by its own quantisation.

JPEG rounds every frequency of an 8x8 block to a multiple of its step (ITU-T T.81, A.3.4). So the true value lies within
half a step of the stored one. A variation breaks this bound wherever it differs by more than the file lost, even where it
differs by less than a level in the mean. Limits by measurement: bench/near_duplicates.py, docs/duplicates.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, JpegImagePlugin

from indexd.errors import is_transient_os_error

BLOCK_PX = 8
MAX_BLOCKS = 4096
"""Blocks that are compared, spread over the image: 512x512 pixels."""
MIN_BLOCKS = 16
SLACK = 0.5
"""Levels beyond half a step that the arithmetic of encoders explains."""
PIXEL_ROUNDING, PIXEL_ROUNDING_COARSE = 2.1, 4.0
"""Maximum error of a frequency that comes from rounding the decoded pixels to whole levels; 4 with steps above COARSE_STEP:
they leave flat blocks, where the errors of 64 pixels add up."""
COARSE_STEP = 3
MAX_OUTSIDE = 0.0005
"""Maximum share of frequencies outside the bound in a copy; of 1100 measured copies all are within it."""
MAX_LOWERED = 0.05
MIN_LOWERED = 0.003
"""Trellis quantisation (mozjpeg) moves this share of the values towards zero, and none away from it."""
MAX_RAISED_OF_LOWERED = 0.05
MAX_OUTSIDE_OF_TWO = 0.001
"""Maximum share outside the bound of two JPEG files of one image."""

Levels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LumaBlocks:
    """Brightness of blocks spread over an image: uint8 (n, 8, 8). `steps` float32 (8, 8), 0 where nothing was rounded."""

    size: tuple[int, int]
    blocks: NDArray[np.uint8]
    steps: Levels

    @property
    def is_rounded(self) -> bool:
        """Whether the blocks come from a JPEG file."""
        return bool(self.steps.any())


def blocks_of_image(image: Image.Image) -> LumaBlocks:
    """The blocks of an RGB image whose file keeps every pixel. Brightness after ITU-R BT.601, as JPEG has it."""
    luma = np.asarray(image.convert("L"))
    return LumaBlocks(image.size, _spread_blocks(luma), np.zeros((BLOCK_PX, BLOCK_PX), np.float32))


def blocks_of_jpeg(file: BinaryIO) -> LumaBlocks | None:
    """The blocks of a JPEG file; None for another format, CMYK or RGB components, or a turned image.

    Raises OSError where the machine is at fault. The caller has decoded the file before, within the limits of
    indexd.images.decode.
    """
    try:
        file.seek(0)
        with Image.open(file) as opened:
            if not isinstance(opened, JpegImagePlugin.JpegImageFile) or opened.mode not in ("RGB", "L"):
                return None
            is_turned = opened.getexif().get(ExifTags.Base.Orientation, 1) != 1
            if is_turned or (opened.mode == "RGB" and opened.info.get("adobe_transform") == 0):
                return None
            steps = np.array(opened.quantization[opened.layer[0][3]], np.float32).reshape(BLOCK_PX, BLOCK_PX)
            opened.draft("L", opened.size)
            return LumaBlocks(opened.size, _spread_blocks(np.asarray(opened)), steps)
    except (OSError, ValueError, SyntaxError, KeyError, IndexError) as error:
        if is_transient_os_error(error):
            raise
        return None


def may_be_one_image(one: LumaBlocks, other: LumaBlocks) -> bool | None:
    """Whether the rounding of the JPEG files explains every difference; None where it cannot be told."""
    if one.size != other.size or not (one.is_rounded or other.is_rounded):
        return None
    # Values that were cut off at black or white are no multiples of the step.
    whole = _is_within_range(one.blocks) & _is_within_range(other.blocks)
    if int(whole.sum()) < MIN_BLOCKS:
        return None
    first, second = one.blocks[whole], other.blocks[whole]
    if one.is_rounded and other.is_rounded:
        bound = (one.steps + other.steps) / 2 + PIXEL_ROUNDING
        differences = np.abs(_frequencies(first) - _frequencies(second))
        return float((differences > bound).mean()) <= MAX_OUTSIDE_OF_TWO
    exact, decoded, steps = (second, first, one.steps) if one.is_rounded else (first, second, other.steps)
    return _is_rounded_from(exact, decoded, steps)


def _is_rounded_from(exact_blocks: NDArray[np.uint8], decoded_blocks: NDArray[np.uint8], steps: Levels) -> bool:
    """Whether the steps explain every difference between blocks of an image and of a JPEG file."""
    exact = _frequencies(exact_blocks)
    stored = _stored_values(exact, _frequencies(decoded_blocks), steps)
    outside = np.abs(exact - stored) > steps / 2 + SLACK
    is_raised = np.abs(stored) > np.abs(exact)
    raised, lowered = float((outside & is_raised).mean()), float((outside & ~is_raised).mean())
    if raised + lowered <= MAX_OUTSIDE:
        return True
    return MIN_LOWERED <= lowered <= MAX_LOWERED and raised <= MAX_RAISED_OF_LOWERED * lowered


def _stored_values(exact: Levels, decoded: Levels, steps: Levels) -> Levels:
    """The multiples of the steps that the file holds; of several that decode to these pixels, the one nearest to `exact`."""
    error = np.where(steps > COARSE_STEP, PIXEL_ROUNDING_COARSE, PIXEL_ROUNDING)
    nearest = np.round(decoded / steps) * steps
    likely = np.round(np.clip(exact, decoded - error, decoded + error) / steps) * steps
    is_possible = np.abs(likely - decoded) <= np.maximum(error, np.abs(nearest - decoded))
    return np.asarray(np.where(is_possible, likely, nearest), np.float32)


def _spread_blocks(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Whole blocks (n, 8, 8) of (h, w), every one or every second, third, ... in both directions."""
    down, across = luma.shape[0] // BLOCK_PX, luma.shape[1] // BLOCK_PX
    stride = 1
    while -(-down // stride) * -(-across // stride) > MAX_BLOCKS:
        stride += 1
    cut = luma[: down * BLOCK_PX, : across * BLOCK_PX].reshape(down, BLOCK_PX, across, BLOCK_PX).swapaxes(1, 2)
    return np.ascontiguousarray(cut[::stride, ::stride].reshape(-1, BLOCK_PX, BLOCK_PX))


def _is_within_range(blocks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((blocks.min((1, 2)) > 0) & (blocks.max((1, 2)) < 255), np.bool_)


def _frequencies(blocks: NDArray[np.uint8]) -> Levels:
    """The cosine transform of each block (n, 8, 8), in the scale of JPEG."""
    levels = blocks.astype(np.float32) - 128
    return np.asarray(_COSINES @ levels @ _COSINES.T, np.float32)


def _cosines() -> Levels:
    rows, columns = np.mgrid[:BLOCK_PX, :BLOCK_PX]
    basis = np.cos((2 * columns + 1) * rows * np.pi / (2 * BLOCK_PX)) * np.sqrt(2 / BLOCK_PX)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


_COSINES = _cosines()
