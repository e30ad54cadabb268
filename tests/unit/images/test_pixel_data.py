"""What is wrong outside the pixel data never costs an image, and of a file that is cut off what is there is shown."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.support.synthetic_images import scene_image
from indexd.errors import NotAnImage
from indexd.image_metadata.containers.text_collector import CUT_OFF
from indexd.images.decode import decode_bytes, flatten_on_white, make_thumbnails
from indexd.worker.calls import MakeThumbnails
from tests.unit.image_metadata.writers import SIGNATURE, chunk, facts, itxt, segment, text

SIZE = (192, 128)
LOSSY = 12.0
"""Mean difference of a row, of 255, up to which an encoder may have changed it."""

CONTAINERS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "png interlaced": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 92}),
    "jpeg progressive": ("JPEG", {"quality": 92, "progressive": True}),
    "webp": ("WEBP", {"quality": 92}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "avif": ("AVIF", {"quality": 92}),
    "gif": ("GIF", {"interlace": 0}),
    "tiff": ("TIFF", {}),
    "tiff deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
}
CUT_WITHOUT_DIRECTORY = ("tiff deflate",)
"""Pillow writes the directory of a compressed TIFF behind its pixels: cut off, it has no size."""


def scene() -> Image.Image:
    return scene_image(0, 0).resize(SIZE).convert("RGB")


def encoded(name: str, **more: Any) -> bytes:
    """The scene with EXIF (not turned), XMP and an ICC profile that no program can read."""
    format_name, options = CONTAINERS[name]
    if name == "png interlaced":
        return interlaced_png(np.asarray(scene()))
    file = io.BytesIO()
    scene().save(file, format_name, **options, **more)
    return file.getvalue()


def interlaced_png(pixels: NDArray[np.uint8]) -> bytes:
    """An Adam7 PNG; Pillow writes none."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    raw = b"".join(
        b"\0" + row.tobytes()
        for x, y, across, down in passes
        for row in np.ascontiguousarray(pixels[y::down, x::across])
    )
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def rows_shown(data: bytes) -> NDArray[np.bool_]:
    """Of each row whether it looks as it should."""
    image = decode_bytes(data).image
    assert image.size == SIZE
    shown = np.asarray(flatten_on_white(image), np.int16)
    return np.asarray(np.abs(shown - np.asarray(scene(), np.int16)).mean(axis=(1, 2)) < LOSSY)


def damage(body: bytes, place: int) -> bytes:
    changed = bytearray(body)
    changed[place] ^= 0x55
    return bytes(changed)


def odd_pngs() -> Iterator[tuple[str, bytes, str | None]]:
    """PNGs with a fault in ancillary data, and what the problem of the image then says."""
    plain = encoded("png")
    head, rest = plain[:33], plain[33:]
    for kind, odd in {
        "tEXt": text("parameters", "a dog\nSteps: 20, Seed: 5"),
        "iTXt": itxt("workflow", "{}"),
        "zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"words")),
        "eXIf": chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0"),
    }.items():
        wrong = odd[:-1] + bytes([odd[-1] ^ 1])
        yield f"{kind} checksum", head + wrong + rest, f"the checksum of a {kind} chunk is wrong"
        yield f"{kind} checksum behind the pixels", plain[:-12] + wrong + plain[-12:], "checksum"
        yield f"{kind} checksum behind the end", plain + wrong, "checksum"
    yield "compressed text", head + chunk(b"zTXt", b"Comment\0\0no deflate stream") + rest, "damaged"
    yield "odd EXIF", head + chunk(b"eXIf", b"nothing of the kind") + rest, "EXIF"
    yield "odd profile", head + chunk(b"iCCP", b"name\0\0" + b"no deflate stream") + rest, None
    yield "profile of another kind", head + chunk(b"iCCP", b"name\0\0" + zlib.compress(b"x" * 200)) + rest, None
    for short in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"tRNS", b"acTL", b"fcTL", b"sBIT", b"bKGD"):
        yield f"short {short.decode()}", head + chunk(short, b"\1") + rest, None
    yield "junk behind the end", plain + b"\0" * 5000, None
    yield "no end", plain[:-12], CUT_OFF


@pytest.mark.parametrize(("data", "problem"), [pytest.param(data, found, id=name) for name, data, found in odd_pngs()])
def test_ancillary_chunks_do_not_cost_a_png(data: bytes, problem: str | None) -> None:
    assert np.array_equal(np.asarray(decode_bytes(data).image), np.asarray(scene()))
    found = facts(data).metadata.problem
    assert found is None if problem is None else problem in (found or "")


def test_a_text_with_a_wrong_checksum_is_read() -> None:
    wrong = text("parameters", "a dog\nSteps: 20, Seed: 5")[:-1] + b"?"
    plain = encoded("png")
    assert facts(plain[:33] + wrong + plain[33:]).metadata.prompt == "a dog"


@pytest.mark.parametrize(
    "extra", [b"", b"x", b"no profile and no directory" * 9, b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"]
)
@pytest.mark.parametrize("key", ["exif", "icc_profile", "xmp"])
@pytest.mark.parametrize("name", [name for name in CONTAINERS if name not in ("bmp", "gif", "png interlaced")])
def test_odd_profiles_exif_and_xmp_do_not_cost_an_image(name: str, key: str, extra: bytes) -> None:
    if name.startswith("avif") and key == "exif":
        extra = b"II*\0" + extra  # Pillow refuses to write an AVIF with anything else
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = encoded(name, **{key: extra})
    except (SyntaxError, ValueError, TypeError, RuntimeError, struct.error):
        pytest.skip("Pillow does not write this")
    assert rows_shown(data).all()


@pytest.mark.parametrize("kind", [0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xE0])
@pytest.mark.parametrize(
    "body", [b"", b"Exif\0\0broken", b"ICC_PROFILE\0\1\2", b"MPF\0II*\0\xff\xff\xff\xff", b"JFIF\0\1"]
)
def test_odd_segments_do_not_cost_a_jpeg(kind: int, body: bytes) -> None:
    data = encoded("jpeg")
    assert rows_shown(data[:2] + segment(kind, body) + data[2:]).all()


def test_a_photoshop_segment_with_wrong_lengths(name: str = "jpeg") -> None:
    data = encoded(name)
    resources = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\xff\xff\xff\xff"
    assert rows_shown(data[:2] + segment(0xED, resources) + data[2:]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", [name for name in CONTAINERS if name not in ("bmp", "gif", "png interlaced")])
def test_images_are_still_turned_upright(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = decode_bytes(encoded(name, exif=exif.tobytes())).image
    assert shown.size == (SIZE if orientation < 5 else SIZE[::-1])
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    wanted = scene().transpose(turns[orientation]) if orientation > 1 else scene()
    difference = np.abs(np.asarray(shown.convert("RGB"), np.int16) - np.asarray(wanted, np.int16)).mean()
    assert difference < LOSSY


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", [name for name in CONTAINERS if name not in CUT_WITHOUT_DIRECTORY])
def test_of_a_file_that_is_cut_off_the_beginning_is_shown(name: str, share: float) -> None:
    whole = encoded(name)
    data = whole[: int(len(whole) * share)]
    shown = rows_shown(data)
    first = shown[::-1] if name == "bmp" else shown
    # The rows of a compressed file do not all have the same length.
    if "interlaced" not in name:
        assert first[: int(len(first) * max(0.0, share - 0.4))].all()
    assert decode_bytes(data).is_cut_off
    assert CUT_OFF in (facts(data).metadata.problem or "")
    assert not decode_bytes(whole).is_cut_off
    assert facts(whole).metadata.problem is None


@pytest.mark.parametrize("name", CONTAINERS)
def test_cut_anywhere_an_image_is_decoded_or_refused(name: str) -> None:
    whole = encoded(name)
    for cut in range(0, len(whole), max(1, len(whole) // 40)):
        try:
            assert decode_bytes(whole[:cut]).image.size == SIZE
        except NotAnImage as error:
            assert cut < len(whole) // 3 or name in CUT_WITHOUT_DIRECTORY, (cut, len(whole), str(error))


@pytest.mark.parametrize("name", CONTAINERS)
def test_changed_bytes_never_raise_anything_but_not_an_image(name: str) -> None:
    whole, chance = encoded(name), random.Random(7)
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data) if chance.random() < 0.5 else min(300, len(data)))] = chance.randrange(256)
        try:
            decode_bytes(bytes(data))
        except NotAnImage as error:
            assert str(error)


def test_a_cut_animation_shows_its_first_frame(tmp_path: Path) -> None:
    for format_name in ("WEBP", "GIF", "PNG"):
        file = io.BytesIO()
        scene().save(file, format_name, save_all=True, append_images=[Image.new("RGB", SIZE, "red")] * 3)
        data = file.getvalue()
        assert rows_shown(data[: len(data) - 30]).all(), format_name


def test_a_file_without_a_row_of_pixels_is_refused() -> None:
    data = encoded("png")
    start = data.index(b"IDAT")
    with pytest.raises(NotAnImage, match="before the first row"):
        decode_bytes(data[: start + 12])


def test_a_length_that_no_image_has_is_no_reason_to_take_memory() -> None:
    data = bytearray(encoded("webp"))
    place = data.index(b"VP8 ")
    data[place + 4 : place + 8] = struct.pack("<I", 0xFFFFFF00)
    with pytest.raises(NotAnImage, match="more than the image can have"):
        decode_bytes(bytes(data))


def float_tiff(levels: NDArray[np.float32]) -> bytes:
    """An uncompressed TIFF with three 32-bit floating-point channels."""
    height, width = levels.shape[:2]
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 14),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, levels.nbytes),
        (339, 3, 3, 8),
    ]
    pixels = levels.astype("<f4").tobytes()
    bits, formats = 14 + len(pixels), 20 + len(pixels)
    places = {258: bits, 339: formats}
    body = b"".join(
        struct.pack("<HHII", tag, kind, count, places.get(tag, value)) for tag, kind, count, value in entries
    )
    directory = struct.pack("<H", len(entries)) + body + bytes(4)
    head = b"II*\0" + struct.pack("<I", 26 + len(pixels)) + bytes(6)
    return head + pixels + struct.pack("<3H", 32, 32, 32) + struct.pack("<3H", 3, 3, 3) + directory


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_colours_are_scaled_by_their_white(white: float) -> None:
    levels = np.asarray(np.asarray(scene(), np.float32) / 255 * white, np.float32)
    shown = np.asarray(decode_bytes(float_tiff(levels)).image.convert("RGB"), np.int16)
    assert np.abs(shown - np.asarray(scene(), np.int16)).max() <= 1


def test_floating_point_grey_with_odd_values() -> None:
    levels = np.asarray(scene().convert("L"), np.float32) / 255
    levels[0, :3] = np.nan, np.inf, -np.inf
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "TIFF")
    shown = np.asarray(decode_bytes(file.getvalue()).image.convert("L"), np.int16)
    assert np.abs(shown - np.asarray(scene().convert("L"), np.int16))[1:].max() <= 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_sixteen_bit_tiffs(compression: str | None) -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(1, 256).repeat(4, 0)
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "TIFF", compression=compression)
    shown = np.asarray(decode_bytes(file.getvalue()).image)[0, :, 0].astype(int)
    assert np.abs(shown - np.arange(256)).max() <= 1


def test_a_text_with_a_wrong_checksum_has_thumbnail_and_hash(tmp_path: Path) -> None:
    wrong = text("workflow", "{}")[:-1] + b"?"
    plain = encoded("png")
    path = tmp_path / "a.png"
    path.write_bytes(plain[:33] + wrong + plain[33:])
    made = make_thumbnails(MakeThumbnails(((os.fsencode(path), bytes(32)),), str(tmp_path / "small"), 64))
    assert made.problems == {}
    assert made.perceptual_hashes[0]
