"""JPEG: the segments before the first scan (ITU T.81, annex B): frame size, EXIF, XMP, comments, C2PA."""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.c2pa import add_manifest
from indexd.image_metadata.containers.exif import add_exif
from indexd.image_metadata.containers.iptc import PHOTOSHOP_PREFIX, add_photoshop_blocks
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

SIGNATURE = b"\xff\xd8\xff"
SCAN = 0xDA

SEGMENTS_WALKED_MAX = 20_000

JUNK_BYTES_MAX = 1 << 16
"""How far a marker may lie behind the place where it should be."""

_MARKER = re.compile(rb"\xff(?=[^\x00\xff])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_END, _COMMENT, _APP1, _APP11, _APP13 = 0xD9, 0xFE, 0xE1, 0xEB, 0xED
_END_MARKER, _SEARCHED_BYTES = b"\xff\xd9", 1 << 16
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_XMP_EXTENSION_HEAD_BYTES = len(_XMP_EXTENSION) + 32 + 8


def read_jpeg(source: ByteSource) -> Container:
    """Size and texts of a JPEG. Raises UnreadableImage where no frame header comes before the end."""
    texts = TextCollector()
    size: tuple[int, int] | None = None
    manifest: list[bytes] = []
    extension: list[bytes] = []
    for kind, offset, length in iter_segments(source):
        if kind == SCAN:
            if not _has_end(source, offset + 2 + length):
                texts.note_end(source.size + 1, source.size)
            break
        data = source.read_at(offset + 4, length - 2)
        if kind in _FRAMES and size is None and len(data) >= 5:
            size = int.from_bytes(data[3:5], "big"), int.from_bytes(data[1:3], "big")
        elif kind == _APP11:
            manifest.append(data)
        elif kind == _APP1 and data.startswith(_XMP_EXTENSION):
            extension.append(data)
        else:
            _add_segment(texts, kind, data)
    if size is None:
        raise UnreadableImage("the JPEG ends before it states its size")
    if manifest:
        _add_manifest(texts, manifest)
    if extension:
        _add_xmp_extension(texts, extension)
    return build_container("JPEG", size[0], size[1], 1, texts)


def iter_segments(source: ByteSource) -> Iterator[tuple[int, int, int]]:
    """The segments as (second byte of the marker, offset of the marker, stated length), up to the first scan with it."""
    offset = 2
    for _ in range(SEGMENTS_WALKED_MAX):
        head = source.read_at(offset, 4)
        if len(head) < 2:
            break
        if head[0] != 0xFF or head[1] in (0x00, 0xFF):
            # Fill bytes, or a segment whose stated length is wrong: decoders go on at the next marker, and so does this.
            found = _next_marker(source, offset)
            if found is None:
                break
            offset = found
            continue
        kind = head[1]
        if kind == _END:
            break
        if kind in _WITHOUT_LENGTH:
            offset += 2
            continue
        length = int.from_bytes(head[2:4], "big")
        if len(head) < 4 or length < 2:
            break
        yield kind, offset, length
        if kind == SCAN:
            break
        offset += 2 + length


def _has_end(source: ByteSource, offset: int) -> bool:
    """Whether an end marker comes after `offset`; mostly it is the last two bytes."""
    end = source.size
    while end > offset:
        start = max(offset, end - _SEARCHED_BYTES)
        if _END_MARKER in source.read_at(start, end - start + 1):
            return True
        end = start
    return False


def _next_marker(source: ByteSource, offset: int) -> int | None:
    match = _MARKER.search(source.read_at(offset + 1, JUNK_BYTES_MAX))
    return offset + 1 + match.start() if match else None


def _add_segment(texts: TextCollector, kind: int, data: bytes) -> None:
    if kind == _COMMENT:
        texts.add("jpeg:comment", data)
    elif kind == _APP1 and data[:6] == b"Exif\0\0":
        add_exif(texts, data)
    elif kind == _APP1 and data.startswith(_XMP):
        texts.add("xmp", data[len(_XMP) :])
    elif kind == _APP13 and data.startswith(PHOTOSHOP_PREFIX):
        add_photoshop_blocks(texts, data[len(PHOTOSHOP_PREFIX) :])


def _add_xmp_extension(texts: TextCollector, segments: list[bytes]) -> None:
    """Join extended XMP: each segment has the MD5 of the whole in hex, its length, the offset of this piece, and the piece.

    Form: XMP specification, part 3, 1.1.3.1. Of several wholes the first counts.
    """
    guid = segments[0][len(_XMP_EXTENSION) :][:32]
    pieces = sorted(
        (int.from_bytes(data[_XMP_EXTENSION_HEAD_BYTES - 4 : _XMP_EXTENSION_HEAD_BYTES], "big"), data)
        for data in segments
        if data[len(_XMP_EXTENSION) :][:32] == guid
    )
    packet = b"".join(data[_XMP_EXTENSION_HEAD_BYTES:] for _, data in pieces)
    if texts.has_room("xmp:extended", len(packet)):
        texts.add("xmp:extended", packet)


def _add_manifest(texts: TextCollector, segments: list[bytes]) -> None:
    """Join the JUMBF pieces: each has `JP`, an instance and a sequence number, and repeats the box header of 8 bytes."""
    pieces = [data[8:] if index == 0 else data[16:] for index, data in enumerate(segments) if data[:2] == b"JP"]
    if sum(map(len, pieces)) <= TEXT_BYTES_MAX:
        add_manifest(texts, b"".join(pieces))
