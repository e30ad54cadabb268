"""GIF: the blocks of GIF89a: screen size, number of frames, comments, XMP."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container

SIGNATURES = (b"GIF87a", b"GIF89a")

BLOCKS_WALKED_MAX = 1_000_000

_EXTENSION, _IMAGE = 0x21, 0x2C
_COMMENT, _APPLICATION, _GRAPHIC_CONTROL, _TRAILER = 0xFE, 0xFF, 0xF9, b";"
_XMP_APPLICATION = b"XMP DataXMP"
_XMP_TRAILER_BYTES = 258


class _BlockCursor:
    """The place in the file, and how many blocks may still be looked at."""

    def __init__(self, source: ByteSource, offset: int) -> None:
        self.source = source
        self.offset = offset
        self.blocks_left = BLOCKS_WALKED_MAX
        self.is_cut_off = False

    def skip_blocks(self) -> None:
        """Go behind the length-prefixed blocks that start here; behind the end of the file where the last is cut off."""
        while self.blocks_left > 0:
            self.blocks_left -= 1
            length = self.source.read_at(self.offset, 1)
            self.offset += 1 + (length[0] if length else 0)
            self.is_cut_off = not length or self.offset > self.source.size
            if length == b"\0" or self.is_cut_off:
                return


@dataclass(frozen=True, slots=True)
class GifFrame:
    """The first frame: `data` from its image descriptor on, without the end of its blocks where `is_cut_off`.

    `header_bytes` is the length of the screen descriptor with its colour table, `graphic_control` the whole extension
    that states the transparent colour, or b"". `missing_bytes` are those missing in the last block.
    """

    header_bytes: int
    graphic_control: bytes
    data: bytes
    is_cut_off: bool
    missing_bytes: int


def first_frame(source: ByteSource) -> GifFrame | None:
    """The first frame; None where the file ends before it."""
    head = source.read_at(0, 13)
    walk = _BlockCursor(source, 13 + _color_table_bytes(head[10] if len(head) > 10 else 0))
    header_bytes, graphic_control = walk.offset, b""
    while walk.blocks_left > 0:
        walk.blocks_left -= 1
        block, start = source.read_at(walk.offset, 10), walk.offset
        if block[:1] == bytes([_IMAGE]) and len(block) == 10:
            walk.offset += 11 + _color_table_bytes(block[9])
            walk.skip_blocks()
            data = source.read_at(start, min(walk.offset, source.size) - start)
            return GifFrame(header_bytes, graphic_control, data, walk.is_cut_off, max(0, walk.offset - source.size))
        if block[:1] != bytes([_EXTENSION]) or len(block) < 3:
            return None
        walk.offset += 2
        walk.skip_blocks()
        if block[1] == _GRAPHIC_CONTROL:
            graphic_control = source.read_at(start, walk.offset - start)
    return None


def read_gif(source: ByteSource) -> Container:
    """Size, frames and texts of a GIF."""
    head = source.read_at(0, 13)
    texts = TextCollector()
    width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    walk = _BlockCursor(source, 13 + _color_table_bytes(head[10] if len(head) > 10 else 0))
    frame_count = 0
    while walk.blocks_left > 0:
        walk.blocks_left -= 1
        block = source.read_at(walk.offset, 10)
        if block[:1] == bytes([_IMAGE]) and len(block) == 10:
            frame_count += 1
            walk.offset += 11 + _color_table_bytes(block[9])
            walk.skip_blocks()
        elif block[:1] == bytes([_EXTENSION]) and len(block) > 2:
            _read_extension(walk, texts, block[1])
        else:
            break
    if source.read_at(walk.offset, 1) != _TRAILER:
        texts.note_end(source.size + 1, source.size)
    return build_container("GIF", width, height, frame_count, texts)


def _color_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _read_extension(walk: _BlockCursor, texts: TextCollector, label: int) -> None:
    start = walk.offset + 2
    walk.offset = start
    walk.skip_blocks()
    length = walk.offset - start
    if length > TEXT_BYTES_MAX:
        return
    if label == _COMMENT:
        texts.add("gif:comment", _join_sub_blocks(walk.source.read_at(start, length)))
    elif label == _APPLICATION and walk.source.read_at(start + 1, 11) == _XMP_APPLICATION:
        # XMP stands there as plain text; a trailer of 258 bytes makes every reader of blocks end at the right place.
        texts.add("xmp", walk.source.read_at(start + 12, max(0, length - 12 - _XMP_TRAILER_BYTES)))


def _join_sub_blocks(blocks: bytes) -> bytes:
    pieces, place = [], 0
    while place < len(blocks) and (length := blocks[place]):
        pieces.append(blocks[place + 1 : place + 1 + length])
        place += 1 + length
    return b"".join(pieces)
