"""GIF: the blocks of GIF89a: screen size, number of frames, comments, XMP."""

from __future__ import annotations

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.text_collector import TEXT_BYTES_MAX, Container, TextCollector, build_container

SIGNATURES = (b"GIF87a", b"GIF89a")

BLOCKS_WALKED_MAX = 1_000_000

_EXTENSION, _IMAGE = 0x21, 0x2C
_COMMENT, _APPLICATION = 0xFE, 0xFF
_XMP_APPLICATION = b"XMP DataXMP"
_XMP_TRAILER_BYTES = 258


class _BlockCursor:
    """The place in the file, and how many blocks may still be looked at."""

    def __init__(self, source: ByteSource, offset: int) -> None:
        self.source = source
        self.offset = offset
        self.blocks_left = BLOCKS_WALKED_MAX

    def skip_blocks(self) -> None:
        """Go behind the length-prefixed blocks that start here."""
        while self.blocks_left > 0:
            self.blocks_left -= 1
            length = self.source.read_at(self.offset, 1)
            self.offset += 1 + (length[0] if length else 0)
            if length in (b"", b"\0"):
                return


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
