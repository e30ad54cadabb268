"""Pictures for the tests, made byte by byte where no library writes what real programs write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence

from PIL import Image

from indexd.image_metadata.containers.png import SIGNATURE as SIGNATURE
from indexd.image_metadata.file_reader import read_image
from indexd.image_metadata.model import ImageFacts


def chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text(key: str, value: str | bytes) -> bytes:
    """A tEXt chunk; bytes go in as they are."""
    raw = value if isinstance(value, bytes) else value.encode("latin-1")
    return chunk(b"tEXt", key.encode("latin-1") + b"\0" + raw)


def itxt(key: str, value: str, *, compressed: bool = False) -> bytes:
    """An iTXt chunk."""
    raw = value.encode("utf-8")
    body = b"\1\0\0\0" + zlib.compress(raw) if compressed else b"\0\0\0\0" + raw
    return chunk(b"iTXt", key.encode("latin-1") + b"\0" + body)


def ztxt(key: str, value: bytes) -> bytes:
    """A zTXt chunk."""
    return chunk(b"zTXt", key.encode("latin-1") + b"\0\0" + zlib.compress(value, 9))


def png(*before: bytes, after: Sequence[bytes] = (), size: tuple[int, int] = (3, 2), end: bool = True) -> bytes:
    """A grey PNG with these chunks before its picture data and those after it."""
    width, height = size
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width + 1) * height)))
    return SIGNATURE + header + b"".join(before) + pixels + b"".join(after) + (chunk(b"IEND", b"") if end else b"")


def tiff(
    tags: Mapping[int, bytes],
    inner: Mapping[int, bytes] | None = None,
    *,
    order: str = ">",
    kinds: Mapping[int, int] | None = None,
) -> bytes:
    """A TIFF structure of text tags, with an EXIF directory holding `inner`."""
    kinds = kinds or {}
    entries = dict(tags)
    start = 8
    count = len(entries) + (1 if inner else 0)
    place = start + 2 + 12 * count + 4
    body, data = b"", b""
    for tag, value in sorted(entries.items()):
        kind = kinds.get(tag, 2)
        if len(value) <= 4:
            body += struct.pack(f"{order}HHI", tag, kind, len(value)) + value.ljust(4, b"\0")
        else:
            body += struct.pack(f"{order}HHII", tag, kind, len(value), place + len(data))
            data += value
    if inner:
        at = place + len(data)
        body += struct.pack(f"{order}HHII", 0x8769, 4, 1, at)
        rest = at + 2 + 12 * len(inner) + 4
        fields, values = b"", b""
        for tag, value in sorted(inner.items()):
            fields += struct.pack(f"{order}HHII", tag, kinds.get(tag, 7), max(5, len(value)), rest + len(values))
            values += value.ljust(5, b"\0")
        data += struct.pack(f"{order}H", len(inner)) + fields + bytes(4) + values
    mark = b"MM\0*" if order == ">" else b"II*\0"
    return mark + struct.pack(f"{order}I", start) + struct.pack(f"{order}H", count) + body + bytes(4) + data


def user_comment(value: bytes, order: str = ">") -> bytes:
    """A TIFF structure with one UserComment, given with its charset prefix."""
    return tiff({}, {0x9286: value}, order=order)


def jpeg(exif: bytes = b"", extra: bytes = b"", size: tuple[int, int] = (3, 2)) -> bytes:
    """A grey JPEG; `extra` are whole segments put before everything else."""
    out = io.BytesIO()
    Image.new("L", size).save(out, "JPEG")
    data = out.getvalue()
    app1 = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif if exif else b""
    return data[:2] + extra + app1 + data[2:]


def segment(marker: int, data: bytes) -> bytes:
    """One JPEG segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def webp(exif: bytes = b"", size: tuple[int, int] = (3, 2)) -> bytes:
    """An extended WebP (VP8X) with this EXIF chunk, exactly as given."""
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "WEBP", lossless=True)
    picture = out.getvalue()[12:]
    head = struct.pack("<I", 8) + (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + head + picture
    if exif:
        body += b"EXIF" + struct.pack("<I", len(exif)) + exif + (b"\0" if len(exif) % 2 else b"")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def facts(data: bytes) -> ImageFacts:
    """The facts of a picture given as bytes."""
    return read_image(io.BytesIO(data), len(data), "picture")


def texts(data: bytes) -> dict[str, str]:
    """The raw texts of a picture by key."""
    return {item.key: item.text for item in facts(data).metadata.raw}
