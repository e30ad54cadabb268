"""Collecting the texts of one file: which encoding they are in, and how much of them is kept."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from indexd.image_metadata.budget import TEXT_BYTES_MAX, TEXTS_BYTES_MAX, ReadBudget, add_problem
from indexd.image_metadata.containers.encodings import decode_text, decode_user_comment
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import RawChunk

__all__ = ["TEXTS_BYTES_MAX", "TEXT_BYTES_MAX", "Container", "TextCollector", "build_container"]


CUT_OFF = "the file is cut off: its end is missing"
_XMP_ORIENTATION = re.compile(r"""tiff:Orientation(?:\s*=\s*["']|>)([1-8])["'<]""")

KEY_CHARACTERS_MAX = 100
"""Keywords of PNG have at most 79 characters."""


@dataclass(frozen=True, slots=True)
class Container:
    """What one file says of itself: width and height in pixels, texts in file order, and what could not be read."""

    format: str
    width: int
    height: int
    frame_count: int
    chunks: tuple[RawChunk, ...]
    problems: tuple[str, ...] = ()
    orientation: int = 1
    """How the image is turned and mirrored (EXIF 0x0112, or `tiff:Orientation` of XMP): 1 = upright, up to 8."""
    is_cut_off: bool = False
    missing_bytes: int = 0
    """Of a format that states where its pixel data ends: how many of these bytes lie behind the end of the file."""


class TextCollector:
    """The texts of one file while it is walked; what goes beyond the limits is left out and named in `problems`."""

    def __init__(self) -> None:
        self.chunks: list[RawChunk] = []
        self.problems: list[str] = []
        self.budget = ReadBudget()
        self.orientation: int | None = None
        self.is_cut_off = False
        self.missing_bytes = 0

    def add_problem(self, text: str) -> None:
        """Note what could not be read."""
        add_problem(self.problems, text)

    def note_end(self, wanted: int, size: int) -> None:
        """Note whether a file of `size` bytes is cut off; `wanted` are the bytes that its pixel data states."""
        if wanted > size:
            self.is_cut_off, self.missing_bytes = True, wanted - size
            self.add_problem(CUT_OFF)

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
        if (text := self.inflate(key, raw)) is not None:
            self.add(key, text, encoding)

    def inflate(self, key: str, raw: bytes) -> bytes | None:
        """The decompressed bytes of a stream, at most one byte more than is kept; None where it is damaged."""
        limit = self.budget.inflatable_bytes
        try:
            text = zlib.decompressobj().decompress(raw, limit)
        except zlib.error:
            # How much came out before the fault is not known.
            self.budget.take_inflated(limit)
            self.add_problem(f"the compressed text {key[:80]} is damaged")
            return None
        self.budget.take_inflated(len(text))
        return text

    def has_room(self, key: str, byte_count: int) -> bool:
        """Whether a text of so many bytes can be kept; a text that cannot is named. Ask before its bytes are read."""
        if self.budget.has_room_for_text(byte_count):
            return True
        self.add_problem(f"the text {key[:80]} is left out, because the file has more text than is kept")
        return False

    def _append(self, key: str, text: str, encoding: str) -> None:
        if text := text.rstrip("\0"):
            self.chunks.append(RawChunk(key[:KEY_CHARACTERS_MAX], encoding, text))

    def _reserve_bytes(self, key: str, count: int) -> bool:
        return self.has_room(key, count) and self.budget.take_text(count)


def build_container(format_name: str, width: int, height: int, frame_count: int, collector: TextCollector) -> Container:
    """The finished container. Raises UnreadableImage when it states no size."""
    if width <= 0 or height <= 0:
        raise UnreadableImage(f"the {format_name} header states a size of {width}x{height} pixels")
    return Container(
        format_name,
        width,
        height,
        max(1, frame_count),
        tuple(collector.chunks),
        tuple(collector.problems),
        collector.orientation or _xmp_orientation(collector.chunks),
        collector.is_cut_off,
        collector.missing_bytes,
    )


def _xmp_orientation(chunks: list[RawChunk]) -> int:
    for chunk in chunks:
        if chunk.key == "xmp" and (found := _XMP_ORIENTATION.search(chunk.text)):
            return int(found[1])
    return 1
