"""BMP: the size from the header; the format keeps no texts."""

from __future__ import annotations

import struct

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.text_collector import Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

SIGNATURE = b"BM"

_UNCOMPRESSED = frozenset((0, 3))
_OLD_HEADER, _HEADERS = 12, frozenset((16, 40, 52, 56, 64, 108, 124))


def read_bmp(source: ByteSource) -> Container:
    """Size of a BMP. Raises UnreadableImage where the header is of no known version."""
    head = source.read_at(0, 26)
    version = int.from_bytes(head[14:18], "little")
    if len(head) < 26 or (version != _OLD_HEADER and version not in _HEADERS):
        raise UnreadableImage("the BMP header is of no known version")
    width, height = struct.unpack("<HH", head[18:22]) if version == _OLD_HEADER else struct.unpack("<ii", head[18:26])
    texts = TextCollector()
    texts.note_end(_pixel_end(source, version, width, abs(height)), source.size)
    return build_container("BMP", width, abs(height), 1, texts)  # a negative height means top row first


def _pixel_end(source: ByteSource, version: int, width: int, height: int) -> int:
    """The offset behind the pixels of an uncompressed image; 0 where the image is compressed."""
    head = source.read_at(0, 34)
    depth = int.from_bytes(head[24:26] if version == _OLD_HEADER else head[28:30], "little")
    if version != _OLD_HEADER and int.from_bytes(head[30:34], "little") not in _UNCOMPRESSED:
        return 0
    return int.from_bytes(head[10:14], "little") + (width * depth + 31) // 32 * 4 * height
