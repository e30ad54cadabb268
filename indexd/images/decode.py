"""Pictures to pixels. Only worker processes decode: a decoder that crashes or eats memory takes nothing else with it.

`make_thumbnails` is served in the decode lane. Pillow raises eight kinds of errors over damaged files, so each file is
tried on its own and whatever it raises is that file's reason.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3
from PIL import Image, ImageOps, PngImagePlugin

from indexd.errors import NotAnImage, NotRegularFile, is_transient_os_error, raise_transient_if_present
from indexd.fs.safe_open import open_regular
from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers import png
from indexd.image_metadata.containers.container_reader import SUPPORTED_FORMATS
from indexd.images.perceptual_hash import compute_perceptual_hash
from indexd.images.stealth_webp import read_stealth_webp
from indexd.images.thumbnail import shrink_image, thumbnail_path, write_thumbnail
from indexd.worker.calls import MakeThumbnails, ThumbnailsMade

PIXELS_MAX = 1 << 28
"""16384 x 16384: upscaled pictures of 8K and 16K pass, and one decoded picture stays near a gigabyte."""

Image.MAX_IMAGE_PIXELS = PIXELS_MAX
# Workflows of several MB are legitimate, and beyond its own limit Pillow refuses to open the picture at all.
PngImagePlugin.MAX_TEXT_CHUNK = 64 << 20
PngImagePlugin.MAX_TEXT_MEMORY = 128 << 20

_ALPHA_MODES = frozenset(("RGBA", "LA", "PA", "RGBa", "La"))


def make_thumbnails(call: MakeThumbnails) -> ThumbnailsMade:
    """A thumbnail and a picture hash for each picture of the call; those that cannot be decoded have their reason in
    `problems`, and what is hidden in the pixels of some is in `hidden`.

    Running it twice is harmless: a thumbnail that is there already is left as it is, and the hash taken from it. Raises OSError where the folder
    of thumbnails cannot be written, because that is no fault of a picture.
    """
    problems: dict[int, str] = {}
    hashes: dict[int, bytes] = {}
    hidden: dict[int, str] = {}
    for index, (path, content_hash) in enumerate(call.sources):
        try:
            if (text := read_stealth_webp(path)) is not None:
                hidden[index] = text
            there = _load_thumbnail(thumbnail_path(call.folder, content_hash))
            if there is not None:
                hashes[index] = compute_perceptual_hash(there)
                continue
            picture = _load_image(path, min_side_px=call.size_px)
        except (NotAnImage, NotRegularFile) as error:
            problems[index] = str(error)
            continue
        except OSError as error:
            raise_transient_if_present(error, path)
            problems[index] = error.strerror or str(error)
            continue
        small = shrink_image(picture, call.size_px)
        write_thumbnail(small, call.folder, content_hash, call.size_px)
        hashes[index] = compute_perceptual_hash(small)
    return ThumbnailsMade(problems, hashes, hidden)


def _load_thumbnail(path: Path) -> Image.Image | None:
    """The thumbnail as it lies on disk; None when there is none, or a damaged one, which is then made again."""
    try:
        with Image.open(path, formats=("WEBP",)) as opened:
            return opened.convert("RGBA" if opened.mode == "RGBA" else "RGB")
    except Exception:
        return None


def create_thumbnail(path: bytes | str | Path, target_dir: Path | str, content_hash: bytes, size_px: int) -> Path:
    """The thumbnail of one picture, made now. Raises NotAPicture, NotRegular or OSError."""
    return write_thumbnail(_load_image(path, min_side_px=size_px), target_dir, content_hash, size_px)


def open_image(path: bytes | str | Path) -> Image.Image:
    """The first frame of a picture, decoded, upright, 8-bit RGB (what is transparent lies on white).

    Raises NotAPicture(reason) where it cannot be decoded, NotRegular, or OSError where it cannot be read.
    """
    picture = _load_image(path)
    if picture.mode != "RGBA":
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def hash_file_hex(path: bytes | str | Path) -> str:
    """blake3 of a regular file's bytes in hex. Raises NotRegular, OSError."""
    hasher = blake3()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def _load_image(path: bytes | str | Path, min_side_px: int | None = None) -> Image.Image:
    """The first frame, upright, as RGB or RGBA. `near_px` lets a JPEG be decoded at a fraction of its size."""
    with open_regular(path) as file:
        try:
            return _decode_first_frame(file, min_side_px)
        except (NotAnImage, MemoryError):
            raise  # too little memory says nothing of the picture
        except Exception as error:
            if is_transient_os_error(error):
                raise
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise NotAnImage(f"cannot be decoded: {text[:300]}") from error


def _decode_first_frame(file: BinaryIO, min_side_px: int | None) -> Image.Image:
    if file.read(len(png.SIGNATURE)) == png.SIGNATURE:
        _check_png_checksums(file)
    file.seek(0)
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and of sizes above the limit, which is checked here.
        warnings.simplefilter("ignore")
        with Image.open(file, formats=SUPPORTED_FORMATS) as opened:
            width, height = opened.size
            if width * height > PIXELS_MAX:
                raise NotAnImage(f"{width}x{height} pixels are more than are decoded ({PIXELS_MAX})")
            if min_side_px is not None and opened.format == "JPEG":
                opened.draft("RGB", (2 * min_side_px, 2 * min_side_px))
            opened.load()
            return ImageOps.exif_transpose(_to_8bit(opened))


def _check_png_checksums(file: BinaryIO) -> None:
    """Pillow does not look at the checksums of a PNG's picture data and shows what is left of it."""
    if png.has_damaged_pixels(ByteSource(file, os.fstat(file.fileno()).st_size)):
        raise NotAnImage("cannot be decoded: a checksum in the picture data is wrong")


def _to_8bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey at 255 when it converts; its high byte is what is seen.
        return image.convert("I").point(lambda level: level * (1 / 256)).convert("L").convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")
