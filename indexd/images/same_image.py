"""Whether two contents show the same image: one of them may have other metadata, another file format or size.

Compared are the thumbnails (the image that was written over is gone, its thumbnail is not), served in the decode lane.
The same pixels give the same thumbnail to the byte. Else both are laid on one grid of cells, and what counts is the
share of cells *with something in them* that agree: an empty background agrees with any other, and would make two
different figures on white nearly equal. Encoding again moves a cell's mean difference by 1 to 3 of 255; another seed or
another guidance scale moves nearly every cell with texture by far more than the limit.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd.errors import NotAnImage, NotRegularFile
from indexd.images.decode import create_thumbnail
from indexd.images.thumbnail import thumbnail_path
from indexd.worker.calls import ComparedImage, CompareImages, ImagesCompared

GRID_PX = 128
CELL_PX = 8
MAX_CELL_DIFFERENCE = 6.0
"""Mean difference of a cell, of 255, up to which it shows the same."""
MIN_TEXTURE_STDDEV = 3.0
"""Standard deviation above which there is something in a cell."""
MIN_TEXTURED_CELLS = 8
MIN_MATCHING_SHARE = 0.8
ASPECT_RATIO_TOLERANCE = 0.02

PixelLevels = NDArray[np.float32]


def compare_images(call: CompareImages) -> ImagesCompared:
    """For each pair whether it is one image; a thumbnail that is lacking is made where its file is still there.

    Raises OSError where the folder of thumbnails cannot be written.
    """
    return ImagesCompared(tuple(_compare_pair(old, new, call.folder, call.size_px) for old, new in call.pairs))


def is_same_image(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images (RGB or RGBA, any size) show the same: not another crop, colour, or half of it repainted."""
    if abs(one.width * other.height - other.width * one.height) > ASPECT_RATIO_TOLERANCE * one.width * other.height:
        return False
    longer = max(one.size)
    size = tuple(max(CELL_PX, round(side * GRID_PX / longer / CELL_PX) * CELL_PX) for side in one.size)
    first, second = (_split_into_cells(image, (size[0], size[1])) for image in (one, other))
    agree = np.abs(first - second).mean(axis=(1, 2)) <= MAX_CELL_DIFFERENCE
    textured = np.maximum(first.std(axis=1), second.std(axis=1)).max(axis=1) > MIN_TEXTURE_STDDEV
    if textured.sum() < MIN_TEXTURED_CELLS:
        return bool(agree.all())
    return bool(agree[textured].mean() >= MIN_MATCHING_SHARE and agree.mean() >= MIN_MATCHING_SHARE)


def _compare_pair(old: ComparedImage, new: ComparedImage, folder: str, size_px: int) -> bool | str:
    thumbnails = []
    for side, name in ((old, "old"), (new, "new")):
        path = thumbnail_path(folder, side.content_hash)
        try:
            if not path.exists() or not path.stat().st_size:
                if side.path is None or not os.path.exists(side.path):
                    return f"unseen {name}"
                create_thumbnail(side.path, folder, side.content_hash, size_px)
            thumbnails.append(path.read_bytes())
        except (NotAnImage, NotRegularFile):
            # What cannot be decoded is not the image that could be; it need not be compared again.
            return False if side is new else "unseen old"
    return thumbnails[0] == thumbnails[1] or _thumbnails_match(old, new, folder)


def _thumbnails_match(old: ComparedImage, new: ComparedImage, folder: str) -> bool:
    with (
        Image.open(thumbnail_path(folder, old.content_hash), formats=("WEBP",)) as one,
        Image.open(thumbnail_path(folder, new.content_hash), formats=("WEBP",)) as other,
    ):
        return is_same_image(one, other)


def _split_into_cells(image: Image.Image, size: tuple[int, int]) -> PixelLevels:
    """The image at `size`, cut into cells: float32 (cells, CELL_PX * CELL_PX, channels), see-through as a channel."""
    small = image.convert("RGBA").resize(size, Image.Resampling.BOX)
    levels = np.asarray(small, dtype=np.float32)
    across, down = size[0] // CELL_PX, size[1] // CELL_PX
    cells = levels.reshape(down, CELL_PX, across, CELL_PX, 4).swapaxes(1, 2)
    return np.ascontiguousarray(cells.reshape(down * across, CELL_PX * CELL_PX, 4))
