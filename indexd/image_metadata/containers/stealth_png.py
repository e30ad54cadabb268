"""Text hidden in the lowest bits of a PNG's pixels ("stealth pnginfo"), read without decoding the image.

The bits run down the columns from the left (`stealth.read_stealth_payload`), so only the left edge of each row is needed. PNG's filters look
left, up and up-left: the edge can be unfiltered alone, and of each row only that edge is kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers import png, stealth
from indexd.image_metadata.model import RawChunk

EDGE_BYTES_MAX = 8 << 20
"""Bytes of the left edge that are unfiltered in Python: a text of a megabyte in a common image."""

ROW_PIXELS_MAX = 1 << 17
"""Wider images are not searched: each row would have to be decompressed whole."""

INFLATED_BYTES_MAX = 512 << 20
"""Decompressed at most; an image of 8192 x 8192 with alpha has 256 MiB."""

_INFLATE_BYTES = 1 << 16


def read_stealth_png(source: ByteSource) -> RawChunk | None:
    """The text hidden in the pixels, or None. Looks at a few rows first: nearly every image is done after them."""
    width, height, depth, colour, interlace = png.read_header(source)
    if depth != 8 or colour not in (2, 6) or interlace or width > ROW_PIXELS_MAX:
        return None
    for kind in ("alpha", "rgb") if colour == 6 else ("rgb",):
        text = _LeftEdge(source, width, height, 4 if colour == 6 else 3, kind).text()
        if text is not None:
            return RawChunk(stealth.STEALTH_CHUNK_KEY, text[1], text[0])
    return None


class _LeftEdge:
    """The left edge of one image, for one of the two ways to hide a text."""

    def __init__(self, source: ByteSource, width: int, height: int, pixel_bytes: int, kind: str) -> None:
        self._source = source
        self._width, self._height, self._pixel_bytes = width, height, pixel_bytes
        self._kind = kind
        self._planes = stealth.PLANES[kind]

    def text(self) -> tuple[str, str] | None:
        """The hidden text and the name of its encoding."""
        return stealth.read_stealth_payload(self._kind, self._read_bits)

    def _read_bits(self, bit_count: int) -> bytes | None:
        """The first bits of the image as bytes; None where it does not hold as many or the edge is too large."""
        pixels = -(-bit_count // len(self._planes))
        columns = -(-pixels // self._height)
        rows = self._height if columns > 1 else pixels
        if columns > self._width or columns * rows * len(self._planes) > EDGE_BYTES_MAX:
            return None
        edge = self._unfiltered_edge(rows, columns)
        if edge is None:
            return None
        # (plane, row, column) -> down the columns, and at each pixel through its planes
        bits = (edge & 1).transpose(2, 1, 0).ravel()[:bit_count]
        return np.packbits(bits).tobytes()

    def _unfiltered_edge(self, rows: int, columns: int) -> NDArray[np.uint8] | None:
        edge = np.zeros((len(self._planes), rows, columns), np.uint8)
        above = [bytes(columns) for _ in self._planes]
        count = 0
        for row in self._filtered_rows(rows):
            body = row[1 : 1 + columns * self._pixel_bytes]
            for index, plane in enumerate(self._planes):
                above[index] = _unfilter(row[0], body[plane :: self._pixel_bytes], above[index])
                edge[index, count] = np.frombuffer(above[index], np.uint8)
            count += 1
        return edge if count == rows else None

    def _filtered_rows(self, count: int) -> Iterator[bytes]:
        """The first rows with their filter byte, still filtered; fewer where the data is damaged."""
        row_bytes = 1 + self._width * self._pixel_bytes
        inflater = zlib.decompressobj()
        pending = bytearray()
        inflated = 0
        for kind, offset, length in png.iter_chunks(self._source):
            if kind != b"IDAT":
                continue
            data = self._source.read_at(offset, length)
            while data:
                try:
                    piece = inflater.decompress(data, max(_INFLATE_BYTES, row_bytes))
                except zlib.error:
                    return
                pending += piece
                inflated += len(piece)
                if inflated > INFLATED_BYTES_MAX:
                    return
                data = inflater.unconsumed_tail
                while len(pending) >= row_bytes:
                    yield bytes(pending[:row_bytes])
                    del pending[:row_bytes]
                    count -= 1
                    if count == 0:
                        return


def _unfilter(kind: int, filtered: bytes, above: bytes) -> bytes:
    """One plane of one row without its filter (PNG specification, section 9): bytes of one channel, left to right."""
    if kind == 0:
        return filtered
    if kind == 2:
        return bytes((value + up) & 255 for value, up in zip(filtered, above, strict=True))
    row = bytearray()
    left = corner = 0
    for value, up in zip(filtered, above, strict=True):
        if kind == 1:
            left = (value + left) & 255
        elif kind == 3:
            left = (value + (left + up) // 2) & 255
        else:
            left = (value + _paeth(left, up, corner)) & 255
        corner = up
        row.append(left)
    return bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    by_left, by_up, by_corner = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner
