"""Whether two images with near perceptual hashes are one image in other bytes, or variations of each other.

Both images are laid over each other: scaled, and aligned where one is a crop. Encoders change single pixels; another
word, step, guidance or VAE changes what a cell of 8 pixels shows on average. So the worst cell decides, and lossless
files of equal size are copies only when their pixels are equal. The limits were chosen by measurement:
bench/near_duplicates.py, docs/duplicates.md. Served in the decode lane.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image

from indexd.errors import NotAnImage, NotRegularFile
from indexd.fs.safe_open import open_regular
from indexd.images.decode import decode_bytes, flatten_on_white, load_thumbnail, open_image
from indexd.images.jpeg_rounding import LumaBlocks, blocks_of_image, blocks_of_jpeg, may_be_one_image
from indexd.images.thumbnail import thumbnail_path
from indexd.worker.calls import CompareCopies, CopiesCompared, CopyCandidate, CopyVerdict

GRID_PX = 256
"""Longer side of the grid on which two images are compared; smaller images are enlarged to it."""
LOSSLESS_FORMATS = frozenset(("PNG", "BMP", "TIFF"))
CELL_PX = 8
"""A cell covers at least 8x8 pixels of the smaller image, which is a block of JPEG, and of the grid."""
MAX_CELL_DIFFERENCE = 9.0
"""Maximum difference of the mean of a cell in brightness or colour, of 255, where a cell has 8 pixels of the image."""
MIN_CELL_LIMIT = 8.0
"""The limit of large images, whose cells average more pixels."""
MIN_DETAIL_CORRELATION = 0.5
"""Minimum correlation within a block of 16 grid pixels that has texture."""
MAX_SMOOTH_SHARE = 0.6
"""Maximum share of a difference that remains when cells are averaged, above half the cell limit; of encoders it is 0.3."""
MIN_TEXTURE_VARIANCE = 36.0
MIN_OVERLAP = 0.6
MAX_COARSE_DIFFERENCE = 12.0
"""Mean difference of the brightness on a grid of 32 pixels above which no finer one is tried."""
CACHED_LOOKS = 256

Levels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Look:
    """An image for comparison: `pixels` uint8 (h, w, 3) on the grid, and the true size. `digest` of all true pixels."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    digest: bytes
    is_lossless: bool
    few_colours: bool
    is_thumbnail: bool
    luma: LumaBlocks | None


def compare_copies(call: CompareCopies) -> CopiesCompared:
    """A verdict for each pair of the call. Raises OSError where the machine is at fault."""
    cache: OrderedDict[int, _Look | None] = OrderedDict()

    def look(place: int) -> _Look | None:
        if place not in cache:
            candidate = call.images[place]
            cache[place] = _load_file(candidate) or _load_thumbnail(candidate, call.folder)
            if len(cache) > CACHED_LOOKS:
                cache.popitem(last=False)
        cache.move_to_end(place)
        return cache[place]

    def verdict(left: int, right: int) -> CopyVerdict:
        if _thumbnails_decide(call.images[left], call.images[right], call.folder):
            return CopyVerdict.VARIATION
        one, other = look(left), look(right)
        if one is None or other is None:
            return CopyVerdict.UNSEEN
        return CopyVerdict.COPY if are_looks_equal(one, other) else CopyVerdict.VARIATION

    return CopiesCompared(tuple(verdict(left, right) for left, right in call.pairs))


def _thumbnails_decide(one: CopyCandidate, other: CopyCandidate, folder: str) -> bool:
    """Whether lossless images of equal size have thumbnails that are far apart: then nobody need read the files."""
    if one.size != other.size or not {one.format, other.format} <= LOSSLESS_FORMATS:
        return False
    small = _load_thumbnail(one, folder), _load_thumbnail(other, folder)
    if small[0] is None or small[1] is None:
        return False
    return _worst_cell(*_on_common_grid(small[0], small[1]), 2 * CELL_PX) > MAX_CELL_DIFFERENCE


def are_copies(one: Image.Image | bytes, other: Image.Image | bytes, *, lossless: tuple[bool, bool]) -> bool:
    """Whether two images are one; `lossless` says of each whether its file keeps every pixel. Bytes are those of a file."""
    return are_looks_equal(_look_at_any(one, lossless[0]), _look_at_any(other, lossless[1]))


def _look_at_any(image: Image.Image | bytes, is_lossless: bool) -> _Look:
    if isinstance(image, Image.Image):
        return _look_at(image, is_lossless)
    look = _look_at(decode_bytes(image).image, is_lossless)
    return look if is_lossless else replace(look, luma=blocks_of_jpeg(io.BytesIO(image)))


def are_looks_equal(one: _Look, other: _Look) -> bool:
    """Whether two looks show one image, scaled, cropped or encoded again."""
    if one.digest == other.digest:
        return True
    keeps_pixels = one.is_lossless and other.is_lossless and not (one.few_colours ^ other.few_colours)
    keeps_pixels = keeps_pixels and not one.is_thumbnail and not other.is_thumbnail
    if keeps_pixels and one.size == other.size:
        return False
    first, second = _on_common_grid(one, other)
    cell_px = _cell_px(one, other)
    limit = _cell_limit(one, other)
    is_alike = _agree(first, second, cell_px, limit) or any(
        _agree(*parts, cell_px, limit) for parts in _alignments(first, second)
    )
    return is_alike and _may_be_rounded(one, other)


def _may_be_rounded(one: _Look, other: _Look) -> bool:
    """Whether the quantisation of a JPEG file explains the difference, or cannot tell."""
    return one.luma is None or other.luma is None or may_be_one_image(one.luma, other.luma) is not False


def _cell_px(one: _Look, other: _Look) -> int:
    """Side of a cell in grid pixels."""
    return max(CELL_PX, round(CELL_PX * GRID_PX / min(max(one.size), max(other.size))))


def _cell_limit(one: _Look, other: _Look) -> float:
    smaller = min(max(one.size), max(other.size))
    return max(MIN_CELL_LIMIT, MAX_CELL_DIFFERENCE * min(1.0, GRID_PX / smaller))


def _agree(first: Levels, second: Levels, cell_px: int, limit: float) -> bool:
    """Whether two aligned images (3, h, w) are one."""
    worst = _worst_cell(first, second, cell_px)
    if worst > limit:
        return False
    if worst > limit / 2:
        difference = float(np.abs(first - second).mean())
        smooth = float(np.abs(_cell_means(first, cell_px) - _cell_means(second, cell_px)).mean())
        if smooth > MAX_SMOOTH_SHARE * difference:
            return False
    return _worst_correlation(first[0], second[0], max(2 * CELL_PX, cell_px)) >= MIN_DETAIL_CORRELATION


def _worst_cell(first: Levels, second: Levels, cell_px: int) -> float:
    return float(np.abs(_cell_means(first, cell_px) - _cell_means(second, cell_px)).max(initial=0.0))


def _cell_means(levels: Levels, cell_px: int) -> Levels:
    """Means of whole cells: (..., h, w) to (..., h // cell_px, w // cell_px)."""
    down, across = levels.shape[-2] // cell_px, levels.shape[-1] // cell_px
    cut = levels[..., : down * cell_px, : across * cell_px]
    return np.asarray(cut.reshape(*levels.shape[:-2], down, cell_px, across, cell_px).mean((-3, -1)), np.float32)


def _worst_correlation(first: Levels, second: Levels, block_px: int) -> float:
    """The lowest correlation of brightness within blocks that have texture; 1 where none has."""
    one, other = (_blocks(levels, block_px) for levels in (first, second))
    one, other = one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
    variances = (one * one).mean(1), (other * other).mean(1)
    textured = np.maximum(*variances) > MIN_TEXTURE_VARIANCE
    correlation = (one * other).mean(1) / np.sqrt(variances[0] * variances[1] + 1e-6)
    return float(correlation[textured].min(initial=1.0))


def _blocks(levels: Levels, block_px: int) -> Levels:
    down, across = levels.shape[0] // block_px, levels.shape[1] // block_px
    cut = levels[: down * block_px, : across * block_px].reshape(down, block_px, across, block_px)
    return np.asarray(cut.swapaxes(1, 2).reshape(down * across, block_px * block_px), np.float32)


def _look_at(image: Image.Image, is_lossless: bool, *, is_thumbnail: bool = False) -> _Look:
    flat = flatten_on_white(image)
    scale = GRID_PX / max(flat.size)
    small = flat.resize(
        (max(CELL_PX, round(flat.width * scale)), max(CELL_PX, round(flat.height * scale))),
        Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC,
    )
    digest = blake3(flat.tobytes()).digest()
    few_colours = is_lossless and flat.getcolors(256) is not None
    luma = blocks_of_image(flat) if is_lossless and not few_colours else None
    return _Look(np.asarray(small), flat.size, digest, is_lossless, few_colours, is_thumbnail, luma)


def _load_file(candidate: CopyCandidate) -> _Look | None:
    if candidate.path is None:
        return None
    try:
        look = _look_at(open_image(candidate.path), candidate.format in LOSSLESS_FORMATS)
        if candidate.format != "JPEG":
            return look
        with open_regular(candidate.path) as file:
            return replace(look, luma=blocks_of_jpeg(file))
    except (NotAnImage, NotRegularFile, FileNotFoundError, PermissionError):
        return None


def _load_thumbnail(candidate: CopyCandidate, folder: str) -> _Look | None:
    image = load_thumbnail(Path(thumbnail_path(folder, candidate.content_hash)))
    return None if image is None else _look_at(image, False, is_thumbnail=True)


def _on_common_grid(one: _Look, other: _Look) -> tuple[Levels, Levels]:
    """Both images in the shape of the first, as brightness and two colour differences: float32 (3, h, w)."""
    height, width = one.pixels.shape[:2]
    second = other.pixels
    if second.shape != one.pixels.shape:
        second = np.asarray(Image.fromarray(second).resize((width, height), Image.Resampling.BICUBIC))
    return _colour_differences(one.pixels), _colour_differences(second)


def _colour_differences(pixels: NDArray[np.uint8]) -> Levels:
    """Y, Cb and Cr after ITU-R BT.601, without the offset of the colours."""
    levels = pixels.astype(np.float32)
    luma = levels @ np.array((0.299, 0.587, 0.114), np.float32)
    return np.stack((luma, (levels[..., 2] - luma) * 0.564, (levels[..., 0] - luma) * 0.713))


_START_SCALES = (1.0, 0.95, 1.05, 0.9, 1.1, 0.85, 1.15)
"""Where the alignment starts: the scale of the second image, centred. A crop by 5 % is a scale of 0.95."""
_START_LEVEL_PX = 32
_ITERATIONS = 12
_SCALE_RANGE = (0.7, 1.43)


def _alignments(first: Levels, second: Levels) -> Iterator[tuple[Levels, Levels]]:
    """The parts of both that show the same, as found from each start by scaling and shifting.

    Gauss-Newton on four parameters (Lucas and Kanade, "An iterative image registration technique", 1981), coarse to fine.
    """
    height, width = first.shape[1:]
    for scale in _START_SCALES:
        start = np.array((scale, scale, width * (1 - scale) / 2, height * (1 - scale) / 2))
        found = _register(first[0], second[0], start)
        parts = None if found is None else _overlap(first, second, found)
        if parts is not None:
            yield parts


def _register(first: Levels, second: Levels, start: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Scale and shift (sx, sy, tx, ty): pixel x of the first shows pixel sx * x + tx of the second."""
    height, width = first.shape
    found = start
    for divisor in (8, 4, 2, 1):
        size = width // divisor, height // divisor
        if min(size) < _START_LEVEL_PX // 2:
            continue
        ratio = np.array((1.0, 1.0, size[0] / width, size[1] / height))
        one, other = (
            np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BOX)) for levels in (first, second)
        )
        moved = _gauss_newton(one, other, found * ratio)
        if moved is None:
            return None
        found = moved / ratio
        if divisor == 8 and float(np.abs(_warp(other, moved, size) - one)[2:-2, 2:-2].mean()) > MAX_COARSE_DIFFERENCE:
            return None
    return found


def _gauss_newton(one: Levels, other: Levels, start: NDArray[np.float64]) -> NDArray[np.float64] | None:
    height, width = one.shape
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    found = start.copy()
    for _ in range(_ITERATIONS):
        moved = _warp(other, found, (width, height))
        x, y = found[0] * across + found[2], found[1] * down + found[3]
        inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
        if inside.mean() < MIN_OVERLAP / 2:
            return None
        error = one - moved
        slope_y, slope_x = np.gradient(moved)
        slopes = np.stack((slope_x * across, slope_y * down, slope_x, slope_y), -1).reshape(-1, 4)
        weighted = slopes * inside.reshape(-1, 1)
        normal = weighted.T @ slopes + 1e-3 * np.eye(4)
        # The slopes are those of the moved image; found[0] and found[1] are the scales between both.
        step = np.linalg.solve(normal, weighted.T @ error.ravel()) * found[[0, 1, 0, 1]]
        found = found + step
        if not (_SCALE_RANGE[0] < min(found[:2]) and max(found[:2]) < _SCALE_RANGE[1]):
            return None
        if np.abs(step[2:]).max() < 0.02 and np.abs(step[:2]).max() * width < 0.02:
            break
    return found


def _warp(levels: Levels, moved: NDArray[np.float64], size: tuple[int, int]) -> Levels:
    scale_x, scale_y, shift_x, shift_y = (float(one) for one in moved)
    matrix = (scale_x, 0.0, shift_x, 0.0, scale_y, shift_y)
    image = Image.fromarray(levels).transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)


def _overlap(first: Levels, second: Levels, moved: NDArray[np.float64]) -> tuple[Levels, Levels] | None:
    height, width = first.shape[1:]
    x = moved[0] * (np.arange(width) + 0.5) + moved[2]
    y = moved[1] * (np.arange(height) + 0.5) + moved[3]
    columns, rows = np.flatnonzero((x >= 1) & (x <= width - 1)), np.flatnonzero((y >= 1) & (y <= height - 1))
    if len(columns) < MIN_OVERLAP * width or len(rows) < MIN_OVERLAP * height:
        return None
    part = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    warped = np.stack([_warp(channel, moved, (width, height)) for channel in second])
    return first[part], warped[part]
