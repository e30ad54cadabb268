"""Image files to pixels. Only worker processes decode: a decoder that crashes or fills the memory takes nothing else along.

`make_thumbnails` is served in the decode lane. Pillow raises eight kinds of errors on damaged files, so each file is
tried on its own, and whatever it raises is the reason of that file.
"""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from indexd.errors import NotAnImage, NotRegularFile, is_transient_os_error, raise_transient_if_present
from indexd.fs.paths import display
from indexd.fs.safe_open import open_regular
from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers import webp
from indexd.image_metadata.containers.container_reader import (
    HEAD_BYTES,
    SUPPORTED_FORMATS,
    VIDEO_FORMATS,
    detect_format,
    read_container,
)
from indexd.image_metadata.containers.text_collector import Container
from indexd.image_metadata.errors import UnreadableImage
from indexd.images.native_messages import native_messages
from indexd.images.perceptual_hash import compute_perceptual_hash
from indexd.images.pixel_data import extract_pixel_data
from indexd.images.pixel_file import write_pixels
from indexd.images.stealth_webp import read_stealth_pixels
from indexd.images.thumbnail import shrink_image, thumbnail_path, write_thumbnail
from indexd.images.video_frame import read_first_frame
from indexd.worker.calls import MakeThumbnails, ThumbnailsMade

log = logging.getLogger(__name__)

PIXELS_MAX = 1 << 28
"""16384 x 16384: upscaled images of 8K and 16K pass, and one decoded image stays near a gigabyte."""

Image.MAX_IMAGE_PIXELS = PIXELS_MAX
# Workflows of several MB are legitimate, and beyond its own limit Pillow refuses to open the image at all.
PngImagePlugin.MAX_TEXT_CHUNK = 64 << 20
PngImagePlugin.MAX_TEXT_MEMORY = 128 << 20

_ALPHA_MODES = frozenset(("RGBA", "LA", "PA", "RGBa", "La"))


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """The first frame, upright, 8-bit RGB or RGBA, and the metadata text that is hidden in its pixels, if any."""

    image: Image.Image
    stealth_text: str | None
    is_cut_off: bool = False
    """Whether the end of the file is missing; the image then has one colour where nothing is known."""


def make_thumbnails(call: MakeThumbnails) -> ThumbnailsMade:
    """Thumbnail, perceptual hash and hidden text of each image, decoded once; the pixels for others where wanted.

    Running it twice is harmless: a thumbnail that exists is kept, and the hash is computed from it. Raises OSError
    where the folder of the thumbnails cannot be written, because that is no fault of an image.
    """
    problems: dict[int, str] = {}
    hashes: dict[int, bytes] = {}
    texts: dict[int, str] = {}
    pixel_bytes: dict[int, int] = {}
    for place, (path, content_hash) in enumerate(call.sources):
        small = load_thumbnail(thumbnail_path(call.folder, content_hash))
        keep_pixels = place in call.keep_pixels
        decoded, problem = _try_decode(path, small is None or keep_pixels)
        if decoded is not None and decoded.stealth_text is not None:
            texts[place] = decoded.stealth_text
        if small is None and decoded is not None:
            small = shrink_image(decoded.image, call.size_px)
            write_thumbnail(small, call.folder, content_hash, call.size_px)
        if small is None:
            problems[place] = problem
            continue
        hashes[place] = compute_perceptual_hash(small)
        if keep_pixels and decoded is not None:
            written = write_pixels(flatten_on_white(decoded.image), call.pixel_folder, content_hash)
            pixel_bytes.update({place: written} if written else {})
    return ThumbnailsMade(problems, hashes, texts, pixel_bytes)


def _try_decode(path: bytes, is_wanted: bool) -> tuple[DecodedImage | None, str]:
    """The decoded image, or the reason why there is none. Where it is not wanted, only a file that may hide a text is
    decoded. Raises OSError where the machine is at fault and the image is there."""
    try:
        with open_regular(path) as file:
            if is_wanted or _may_hide_text(file):
                return _decode(file, display(os.fsencode(path))), ""
    except (NotAnImage, NotRegularFile) as error:
        return None, str(error)
    except OSError as error:
        raise_transient_if_present(error, path)
        return None, error.strerror or str(error)
    return None, ""


def _may_hide_text(file: BinaryIO) -> bool:
    file.seek(0)
    return webp.is_lossless_with_alpha(file.read(webp.HEAD_BYTES))


def load_thumbnail(path: Path) -> Image.Image | None:
    """The thumbnail as it lies on disk; None when there is none, or a damaged one, which is then made again."""
    try:
        with Image.open(path, formats=("WEBP",)) as opened:
            return opened.convert("RGBA" if opened.mode == "RGBA" else "RGB")
    except Exception:
        return None


def create_thumbnail(path: bytes | str | Path, target_dir: Path | str, content_hash: bytes, size_px: int) -> Path:
    """The thumbnail of one image, made now. Raises NotAnImage, NotRegularFile or OSError."""
    return write_thumbnail(decode_image(path).image, target_dir, content_hash, size_px)


def open_image(path: bytes | str | Path) -> Image.Image:
    """The first frame of an image, decoded, upright, 8-bit RGB (what is transparent lies on white).

    Raises NotAnImage(reason) where it cannot be decoded, NotRegularFile, or OSError where it cannot be read.
    """
    return flatten_on_white(decode_image(path).image)


def decode_image(path: bytes | str | Path) -> DecodedImage:
    """The first frame of an image with its transparency. Raises as `open_image`."""
    with open_regular(path) as file:
        return _decode(file, display(os.fsencode(path)))


def decode_bytes(data: bytes) -> DecodedImage:
    """The first frame of an image file in memory. Raises NotAnImage(reason)."""
    return _decode(io.BytesIO(data), "an image in memory")


def flatten_on_white(image: Image.Image) -> Image.Image:
    """An RGB or RGBA image as RGB, on white."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _decode(file: BinaryIO, name: str) -> DecodedImage:
    """Decode with what native code writes to stderr: in the reason of a file that is refused, else in the log with `name`."""
    try:
        with native_messages() as messages:
            decoded = _decode_with_reason(file)
    except NotAnImage as error:
        if not messages:
            raise
        raise NotAnImage(f"{error} ({'; '.join(messages)})") from error
    if messages:
        log.info("%s is decoded, although a decoder says: %s", name, "; ".join(messages))
    return decoded


def _decode_with_reason(file: BinaryIO) -> DecodedImage:
    try:
        return _decode_first_frame(file)
    except (NotAnImage, MemoryError):
        raise  # too little memory says nothing of the image
    except Exception as error:
        if is_transient_os_error(error):
            raise
        raise NotAnImage(f"cannot be decoded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What a decoder says, in a sentence for a person: Pillow names the Python object that it reads from."""
    if isinstance(error, UnidentifiedImageError):
        return "the decoder does not know this kind of image"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _PYTHON_OBJECT.sub("the image", text)[:300]


_PYTHON_OBJECT = re.compile(r"<[\w.]+ (?:object )?at 0x[0-9a-fA-F]+>")


def _decode_first_frame(file: BinaryIO) -> DecodedImage:
    may_hide_text = _may_hide_text(file)
    file.seek(0)
    if detect_format(file.read(HEAD_BYTES)) in VIDEO_FORMATS:
        return DecodedImage(read_first_frame(file), None)
    file.seek(0)
    data = file.read()
    container = _read_container(data)
    if container.width * container.height > PIXELS_MAX:
        raise NotAnImage(f"{container.width}x{container.height} pixels are more than are decoded ({PIXELS_MAX})")
    refusal: Exception | None = None
    for pixels in extract_pixel_data(data, container):
        try:
            return _decode_pixels(pixels, container, may_hide_text)
        except (NotAnImage, MemoryError):
            raise
        except Exception as error:  # Pillow raises eight classes for damaged files
            refusal = error
    assert refusal is not None
    raise refusal


def _decode_pixels(pixels: bytes, container: Container, may_hide_text: bool) -> DecodedImage:
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and of sizes above the limit, which is checked here.
        warnings.simplefilter("ignore")
        with _open_pixels(pixels, container.format) as opened:
            width, height = opened.size
            if width * height > PIXELS_MAX:
                raise NotAnImage(f"{width}x{height} pixels are more than are decoded ({PIXELS_MAX})")
            opened.load()
            text = read_stealth_pixels(opened) if may_hide_text and not container.is_cut_off else None
            image = _turn_upright(ImageOps.exif_transpose(_to_8bit(opened)), container)
            return DecodedImage(image, text, container.is_cut_off)


def _read_container(data: bytes) -> Container:
    try:
        return read_container(ByteSource.from_bytes(data))
    except UnreadableImage as error:
        raise NotAnImage(f"cannot be decoded: {error}") from error


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of this EXIF orientation upright."""
_TURNED_BY_EXIF = frozenset(("PNG", "JPEG", "WEBP"))
"""TIFF keeps its own tag, AVIF has properties of its own; Pillow applies both."""


def _turn_upright(image: Image.Image, container: Container) -> Image.Image:
    turn = _TURNS.get(container.orientation) if container.format in _TURNED_BY_EXIF else None
    return image if turn is None else image.transpose(turn)


def _open_pixels(pixels: bytes, format_name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(pixels), formats=SUPPORTED_FORMATS)
    except UnidentifiedImageError:
        if format_name != "TIFF":
            raise
        return _open_with_opencv(pixels)


def _open_with_opencv(pixels: bytes) -> Image.Image:
    """A TIFF of a kind that Pillow does not know: floating-point colours."""
    import cv2

    levels = cv2.imdecode(np.frombuffer(pixels, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None:
        raise NotAnImage("cannot be decoded: neither Pillow nor OpenCV knows this kind of TIFF")
    if levels.dtype != np.uint8:
        levels = _to_8bit_levels(levels)
    if levels.ndim == 3:
        levels = cv2.cvtColor(levels, cv2.COLOR_BGRA2RGBA if levels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return Image.fromarray(levels)


_HIGHLIGHTS = 4.0


def _to_8bit_levels(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Levels of another type as 0 to 255. Integers by their range; floating-point levels by their usual white.

    White is 1 for most programs; some store 255 or 65535. Highlights above it (up to four times) are clipped.
    """
    if levels.dtype.kind in "ui":
        return (levels >> 8 * (levels.dtype.itemsize - 1)).astype(np.uint8)
    known = np.nan_to_num(levels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(known.max(initial=0.0))
    white = next((one for one in (1.0, 255.0, 65535.0) if brightest <= _HIGHLIGHTS * one), brightest)
    return np.asarray((known * (255.0 / white)).clip(0, 255).round(), np.uint8)


def _to_8bit(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        return Image.fromarray(_to_8bit_levels(np.asarray(image))).convert("RGB")
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey at 255 when it converts; its high byte is what is seen.
        return image.convert("I").point(lambda level: level * (1 / 256)).convert("L").convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")
