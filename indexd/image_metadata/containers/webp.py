"""WebP: the RIFF chunks (RFC 9649): canvas size, frames, EXIF, XMP, C2PA."""

from __future__ import annotations

from collections.abc import Iterator

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.c2pa import add_manifest
from indexd.image_metadata.containers.exif import add_exif
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

CHUNKS_WALKED_MAX = 200_000

_TEXT_KINDS = frozenset((b"EXIF", b"XMP ", b"C2PA"))


def is_webp(head: bytes) -> bool:
    """Whether a file that begins so is a WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def read_webp(source: ByteSource) -> Container:
    """Size, frames and texts of a WebP. Raises UnreadableImage where no size is stated."""
    texts = TextCollector()
    size: tuple[int, int] | None = None
    frame_count = 0
    for kind, offset, length in iter_chunks(source):
        if kind == b"ANMF":
            frame_count += 1
        elif kind in _TEXT_KINDS:
            _add_chunk(texts, kind, source.read_at(offset, length) if length <= TEXT_BYTES_MAX else b"")
        elif size is None:
            size = _canvas_size(kind, source.read_at(offset, 10))
    if size is None:
        raise UnreadableImage("the WebP ends before it states its size")
    texts.note_end(8 + int.from_bytes(source.read_at(4, 4), "little"), source.size)
    return build_container("WEBP", size[0], size[1], frame_count, texts)


def iter_chunks(source: ByteSource) -> Iterator[tuple[bytes, int, int]]:
    """Every chunk as (kind, offset of its data, stated length of its data)."""
    offset = 12
    for _ in range(CHUNKS_WALKED_MAX):
        head = source.read_at(offset, 8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        yield head[:4], offset + 8, length
        offset += 8 + length + (length & 1)


HEAD_BYTES = 64
"""As much of a file as `is_lossless_with_alpha` wants."""


def is_lossless_with_alpha(head: bytes) -> bool:
    """Whether a file with this beginning is a single lossless image with an alpha channel."""
    if not is_webp(head):
        return False
    if head[12:16] == b"VP8L":
        return len(head) >= 25 and bool(int.from_bytes(head[21:25], "little") >> 28 & 1)
    # The extended form says whether there is alpha; that it is lossless stands further on, behind a colour profile.
    return head[12:16] == b"VP8X" and len(head) > 20 and head[20] & 0x12 == 0x10 and head[30:34] in (b"VP8L", b"ICCP")


def _canvas_size(kind: bytes, data: bytes) -> tuple[int, int] | None:
    if kind == b"VP8X" and len(data) >= 10:
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if kind == b"VP8 " and len(data) >= 10 and data[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    if kind == b"VP8L" and len(data) >= 5 and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _add_chunk(texts: TextCollector, kind: bytes, data: bytes) -> None:
    if kind == b"EXIF":
        add_exif(texts, data)
    elif kind == b"XMP ":
        texts.add("xmp", data)
    else:
        add_manifest(texts, data)
