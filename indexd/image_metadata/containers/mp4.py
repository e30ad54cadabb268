"""MP4 and QuickTime: size, number of frames, and the texts that ffmpeg and PyAV write (ISO 14496-12, QuickTime metadata)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.avif import iter_boxes
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

BRANDS = frozenset(
    (
        b"isom",
        b"iso2",
        b"iso4",
        b"iso5",
        b"iso6",
        b"mp41",
        b"mp42",
        b"avc1",
        b"M4V ",
        b"qt  ",
        b"dash",
        b"av01",
        b"f4v ",
    )
)

_ITEM_NAMES = {b"\xa9cmt": "comment", b"\xa9nam": "title", b"\xa9too": "encoder", b"\xa9des": "description"}
_INSIDE = {b"moov": (b"trak", b"udta", b"meta"), b"trak": (b"mdia",), b"mdia": (b"minf",), b"minf": (b"stbl",)}
_DEPTH_MAX = 8


def is_mp4(head: bytes) -> bool:
    """Whether a file that begins so is an MP4 or QuickTime video (by its major or a compatible brand)."""
    if head[4:8] != b"ftyp":
        return False
    brands = head[8 : min(len(head), int.from_bytes(head[:4], "big"))]
    return any(brands[place : place + 4] in BRANDS for place in range(0, len(brands), 4) if place != 4)


def read_mp4(source: ByteSource) -> Container:
    """Size, frames and texts of a video. Raises UnreadableImage where no track has a size."""
    texts = TextCollector()
    size: tuple[int, int] | None = None
    frame_count = end = 0
    for kind, offset, length in iter_boxes(source, 0, source.size):
        end = offset + length
        if kind != b"moov":
            continue
        is_video = False
        for inner, place, count in _walk(source, b"moov", offset, length):
            if inner == b"tkhd":
                stated = _track_size(source.read_at(place, count))
                is_video = all(stated)
                size = size or (stated if is_video else None)
            elif inner == b"stsz" and is_video and not frame_count:
                frame_count = int.from_bytes(source.read_at(place + 8, 4), "big")
            elif inner in (b"udta", b"meta"):
                _add_texts(source, texts, inner, place, count)
    if size is None:
        raise UnreadableImage("the video has no track with a size")
    texts.note_end(end, source.size)
    return build_container("MP4", size[0], size[1], frame_count, texts)


def _walk(
    source: ByteSource, parent: bytes, offset: int, length: int, depth: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    for kind, place, count in iter_boxes(source, offset, offset + length):
        yield kind, place, count
        if kind in _INSIDE.get(parent, ()) and kind in _INSIDE and depth < _DEPTH_MAX:
            yield from _walk(source, kind, place, count, depth + 1)
        elif kind == b"stbl" and parent == b"minf":
            yield from iter_boxes(source, place, place + count)


def _track_size(header: bytes) -> tuple[int, int]:
    """Width and height at the end of a `tkhd` box, 16.16 fixed point; zeros for a track without image."""
    if len(header) < 8:
        return 0, 0
    width, height = struct.unpack(">II", header[-8:])
    return width >> 16, height >> 16


def _add_texts(source: ByteSource, texts: TextCollector, kind: bytes, offset: int, length: int) -> None:
    if kind == b"udta":
        for inner, place, count in iter_boxes(source, offset, offset + length):
            if inner == b"meta":
                _add_texts(source, texts, inner, place, count)
        return
    # ISO's `meta` is a full box, with four bytes before its content; QuickTime's is not.
    start = offset if source.read_at(offset + 4, 4) in (b"hdlr", b"keys", b"ilst") else offset + 4
    names: list[str] = []
    for inner, place, count in iter_boxes(source, start, offset + length):
        if inner == b"keys":
            # Each key: its length, its namespace (`mdta`), its name.
            pairs = iter_boxes(source, place + 8, place + count)
            names = [source.read_at(at, min(size, 100)).decode("utf-8", "replace") for _, at, size in pairs]
        elif inner == b"ilst":
            for item, at, size in iter_boxes(source, place, place + count):
                number = int.from_bytes(item, "big")
                name = names[number - 1] if 0 < number <= len(names) else _ITEM_NAMES.get(item)
                if name is not None:
                    _add_item(source, texts, name, at, size)


def _add_item(source: ByteSource, texts: TextCollector, name: str, offset: int, length: int) -> None:
    """One item: a `data` box with type and language before the text."""
    for kind, place, count in iter_boxes(source, offset, offset + length):
        if kind == b"data" and 8 < count <= TEXT_BYTES_MAX:
            texts.add(f"video:{name}", source.read_at(place + 8, count - 8))
