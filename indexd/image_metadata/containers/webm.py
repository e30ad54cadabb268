"""WebM and Matroska: size, and the tags that ffmpeg and PyAV write (RFC 8794, RFC 9559)."""

from __future__ import annotations

from collections.abc import Iterator

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

SIGNATURE = b"\x1aE\xdf\xa3"

ELEMENTS_MAX = 100_000

_SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_WIDTH, _HEIGHT = 0xB0, 0xBA
_TAGS, _TAG, _SIMPLE_TAG, _TAG_NAME, _TAG_TEXT = 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487


def read_webm(source: ByteSource) -> Container:
    """Size and texts of a video. Raises UnreadableImage where no track has a size."""
    texts = TextCollector()
    size: tuple[int, int] | None = None
    end = 0
    for kind, offset, length in _iter_elements(source, 0, source.size):
        end = offset + length
        if kind != _SEGMENT:
            continue
        for inner, place, count in _iter_elements(source, offset, min(end, source.size)):
            if inner == _TRACKS and size is None:
                size = _video_size(source, place, count)
            elif inner == _TAGS:
                _add_tags(source, texts, place, count)
    if size is None:
        raise UnreadableImage("the video has no track with a size")
    texts.note_end(end, source.size)
    return build_container("WEBM", size[0], size[1], 1, texts)


def _iter_elements(source: ByteSource, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The elements between two offsets as (id, offset of the content, length); one of unknown length ends at `end`."""
    for _ in range(ELEMENTS_MAX):
        head = source.read_at(offset, 12)
        if offset >= end or len(head) < 2 or not head[0]:
            return
        id_bytes = 9 - head[0].bit_length()
        rest = head[id_bytes:]
        if id_bytes > 4 or not rest or not rest[0]:
            return
        size_bytes = 9 - rest[0].bit_length()
        if len(rest) < size_bytes:
            return
        bits = 7 * size_bytes
        length = int.from_bytes(rest[:size_bytes], "big") & ((1 << bits) - 1)
        start = offset + id_bytes + size_bytes
        if length == (1 << bits) - 1:
            length = max(0, end - start)
        yield int.from_bytes(head[:id_bytes], "big"), start, length
        offset = start + length


def _children(source: ByteSource, offset: int, length: int, kind: int) -> Iterator[tuple[int, int]]:
    for inner, place, count in _iter_elements(source, offset, offset + length):
        if inner == kind:
            yield place, count


def _video_size(source: ByteSource, offset: int, length: int) -> tuple[int, int] | None:
    for place, count in _children(source, offset, length, _TRACK):
        for at, size in _children(source, place, count, _VIDEO):
            found = {
                kind: int.from_bytes(source.read_at(where, min(wide, 8)), "big")
                for kind, where, wide in _iter_elements(source, at, at + size)
                if kind in (_WIDTH, _HEIGHT)
            }
            if found.get(_WIDTH) and found.get(_HEIGHT):
                return found[_WIDTH], found[_HEIGHT]
    return None


def _add_tags(source: ByteSource, texts: TextCollector, offset: int, length: int) -> None:
    for place, count in _children(source, offset, length, _TAG):
        for at, size in _children(source, place, count, _SIMPLE_TAG):
            parts = {kind: (where, wide) for kind, where, wide in _iter_elements(source, at, at + size)}
            if _TAG_NAME not in parts or _TAG_TEXT not in parts or parts[_TAG_TEXT][1] > TEXT_BYTES_MAX:
                continue
            name = source.read_at(parts[_TAG_NAME][0], min(parts[_TAG_NAME][1], 100)).decode("utf-8", "replace")
            # ffmpeg writes the names of Matroska's tags in capitals.
            texts.add(f"video:{name.lower()}", source.read_at(*parts[_TAG_TEXT]))
