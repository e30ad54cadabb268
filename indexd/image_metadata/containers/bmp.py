"""BMP: the size from the header; the format keeps no texts."""

from __future__ import annotations

import struct

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.text_collector import Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

SIGNATURE = b"BM"

_OLD_HEADER, _HEADERS = 12, frozenset((16, 40, 52, 56, 64, 108, 124))


def read_bmp(source: ByteSource) -> Container:
    """Size of a BMP. Raises UnreadableImage where the header is of no known version."""
    head = source.read_at(0, 26)
    version = int.from_bytes(head[14:18], "little")
    if len(head) < 26 or (version != _OLD_HEADER and version not in _HEADERS):
        raise UnreadableImage("the BMP header is of no known version")
    width, height = struct.unpack("<HH", head[18:22]) if version == _OLD_HEADER else struct.unpack("<ii", head[18:26])
    return build_container("BMP", width, abs(height), 1, TextCollector())  # a negative height means top row first
