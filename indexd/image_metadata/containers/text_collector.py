"""Collecting the texts of one file: which encoding they are in, and how much of them is kept."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from indexd.image_metadata.containers.encodings import decode_text, decode_user_comment
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import RawChunk

TEXT_BYTES_MAX = 16 << 20
"""One text; a ComfyUI workflow with embedded pictures reaches megabytes, and this is more than any seen."""

TEXTS_BYTES_MAX = 32 << 20
"""All texts of one file together."""

CHUNK_COUNT_MAX = 512


@dataclass(frozen=True, slots=True)
class Container:
    """What one file says of itself: width and height in pixels, texts in file order, and what could not be read."""

    format: str
    width: int
    height: int
    frame_count: int
    chunks: tuple[RawChunk, ...]
    problems: tuple[str, ...] = ()


class TextCollector:
    """The texts of one file while it is walked; what goes beyond the limits is left out and named in `problems`."""

    def __init__(self) -> None:
        self.chunks: list[RawChunk] = []
        self.problems: list[str] = []
        self._bytes_left = TEXTS_BYTES_MAX

    def add(self, key: str, raw: bytes, encoding: str | None = None) -> None:
        """Keep one text. Without a stated encoding it is UTF-8 where it can be, else Latin-1.

        PNG's tEXt is Latin-1 by its specification, but stable-diffusion.cpp and Stability Matrix put UTF-8 there.
        """
        if not self._reserve_bytes(key, len(raw)):
            return
        text, name = decode_text(raw) if encoding is None else (raw.decode(encoding, "replace"), encoding)
        self._append(key, text, name)

    def add_comment(self, key: str, raw: bytes) -> None:
        """Keep one EXIF UserComment, whose encoding has rules of its own."""
        if self._reserve_bytes(key, len(raw)):
            self._append(key, *decode_user_comment(raw))

    def add_compressed(self, key: str, raw: bytes, encoding: str | None = None) -> None:
        """Keep one deflated text; a bomb is stopped at the limit, a damaged stream is named."""
        inflater = zlib.decompressobj()
        try:
            text = inflater.decompress(raw, min(TEXT_BYTES_MAX, self._bytes_left) + 1)
        except zlib.error:
            self.problems.append(f"the compressed text {key} is damaged")
            return
        self.add(key, text, encoding)

    def _append(self, key: str, text: str, encoding: str) -> None:
        if text := text.rstrip("\0"):
            self.chunks.append(RawChunk(key, encoding, text))

    def _reserve_bytes(self, key: str, count: int) -> bool:
        if count > TEXT_BYTES_MAX or count > self._bytes_left or len(self.chunks) >= CHUNK_COUNT_MAX:
            self.problems.append(f"the text {key} is left out, because the file has more text than is kept")
            return False
        self._bytes_left -= count
        return True


def build_container(format_name: str, width: int, height: int, frame_count: int, collector: TextCollector) -> Container:
    """The finished container. Raises UnreadableImage when it states no size."""
    if width <= 0 or height <= 0:
        raise UnreadableImage(f"the {format_name} header states a size of {width}x{height} pixels")
    return Container(
        format_name, width, height, max(1, frame_count), tuple(collector.chunks), tuple(collector.problems)
    )
