"""EXIF and TIFF directories: the text tags that image generators use (TIFF 6.0, Exif 2.32)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from indexd.image_metadata.budget import ReadBudget
from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.encodings import detect_utf16
from indexd.image_metadata.containers.iptc import add_iptc, add_photoshop_blocks
from indexd.image_metadata.containers.text_collector import TextCollector

ENTRIES_MAX = 1000
"""Entries of one directory that are looked at."""

ORIENTATION = 0x0112
EXIF_DIRECTORY = 0x8769
USER_COMMENT = 0x9286
XMP_PACKET = 0x02BC
RATING = 0x4746
IPTC_RECORDS = 0x83BB
PHOTOSHOP_BLOCKS = 0x8649

TEXT_TAGS = {
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x9003: "DateTimeOriginal",
    0x9004: "DateTimeDigitized",
    0x9011: "OffsetTimeOriginal",
    0x9012: "OffsetTimeDigitized",
    0x9291: "SubSecTimeOriginal",
    0x9292: "SubSecTimeDigitized",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9E: "XPKeywords",
    0x927C: "MakerNote",
    0xA420: "ImageUniqueID",
    USER_COMMENT: "UserComment",
}
"""The tags whose text is kept, with the name under which it is kept (`exif:<name>`)."""

# Tags that hold blocks of another format: the key of their texts, and what keeps them.
_BLOCKS: dict[int, tuple[str, Callable[[TextCollector, bytes], None]]] = {
    XMP_PACKET: ("xmp", lambda texts, data: texts.add("xmp", data)),
    IPTC_RECORDS: ("iptc:Keywords", add_iptc),
    PHOTOSHOP_BLOCKS: ("iptc:Keywords", add_photoshop_blocks),
}
_MAKER_NOTE_MAX = 64
_GRAPH_BYTES_MIN = 20
_INTEGER_KINDS = frozenset((1, 3, 4, 16))
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 18: 8, 129: 1}


@dataclass(frozen=True, slots=True)
class TiffEntry:
    """One tag: where its value lies and how many values of which type."""

    tag: int
    kind: int
    count: int
    offset: int

    @property
    def byte_count(self) -> int:
        """Length of the value in bytes; 0 for a type that does not exist."""
        return _TYPE_BYTES.get(self.kind, 0) * self.count


@dataclass(frozen=True, slots=True)
class TiffDirectories:
    """A TIFF structure: its byte order (`<` or `>`) and whether it is a BigTIFF (8-byte offsets)."""

    source: ByteSource
    budget: ReadBudget
    byte_order: str
    is_bigtiff: bool
    first_offset: int

    @classmethod
    def parse(cls, source: ByteSource, budget: ReadBudget) -> TiffDirectories | None:
        """The structure, or None when these bytes are no TIFF."""
        head = source.read_at(0, 16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return None
        version = struct.unpack(f"{order}H", head[2:4])[0]
        if version == 42:
            return cls(source, budget, order, False, int(struct.unpack(f"{order}I", head[4:8])[0]))
        if version == 43 and len(head) == 16:
            return cls(source, budget, order, True, int(struct.unpack(f"{order}Q", head[8:16])[0]))
        return None

    def read_entries(self, offset: int) -> tuple[list[TiffEntry], int]:
        """The entries of the directory at `offset`, and the offset of the next directory (0 = none)."""
        count_bytes, entry_bytes, value_bytes = (8, 20, 8) if self.is_bigtiff else (2, 12, 4)
        count = self._read_uint(offset, count_bytes)
        kept = self.budget.take_directory_entries(min(count, ENTRIES_MAX))
        base = offset + count_bytes
        data = self.source.read_at(base, kept * entry_bytes)
        entries = []
        for start in range(0, len(data) - entry_bytes + 1, entry_bytes):
            tag, kind = struct.unpack_from(f"{self.byte_order}HH", data, start)
            values = struct.unpack_from(f"{self.byte_order}{'Q' if self.is_bigtiff else 'I'}", data, start + 4)[0]
            place = base + start + entry_bytes - value_bytes
            entry = TiffEntry(tag, kind, values, place)
            if entry.byte_count > value_bytes:
                entry = TiffEntry(tag, kind, values, self._read_uint(place, value_bytes))
            entries.append(entry)
        return entries, self.read_next_offset(offset)

    def read_next_offset(self, offset: int) -> int:
        """The offset of the directory after the one at `offset` (0 = none). Its entries are not read."""
        count_bytes, entry_bytes, value_bytes = (8, 20, 8) if self.is_bigtiff else (2, 12, 4)
        count = self._read_uint(offset, count_bytes)
        if not count or count > ENTRIES_MAX:
            return 0
        return self._read_uint(offset + count_bytes + count * entry_bytes, value_bytes)

    def read_integer(self, entry: TiffEntry) -> int:
        """The first value of an entry as a whole number; 0 where it is none."""
        return self._read_uint(entry.offset, min(_TYPE_BYTES.get(entry.kind, 0), 8)) if entry.count else 0

    def read_integers(self, entry: TiffEntry, limit: int) -> list[int]:
        """Up to `limit` values of an entry as whole numbers; none where they are none."""
        width = _TYPE_BYTES.get(entry.kind, 0)
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(width if entry.kind in _INTEGER_KINDS else 0)
        if letter is None:
            return []
        data = self.source.read_at(entry.offset, min(entry.count, limit) * width)
        return list(struct.unpack(f"{self.byte_order}{len(data) // width}{letter}", data[: len(data) // width * width]))

    def read_value(self, entry: TiffEntry) -> bytes:
        """The bytes of a value. Whether there is room for them is asked before (TextCollector.has_room)."""
        return self.source.read_at(entry.offset, entry.byte_count)

    def _read_uint(self, offset: int, count: int) -> int:
        data = self.source.read_at(offset, count)
        return int.from_bytes(data, "little" if self.byte_order == "<" else "big") if len(data) == count else 0


def add_exif(texts: TextCollector, data: bytes) -> None:
    """Keep the texts of an EXIF block, with or without the `Exif` prefix that JPEG puts before it."""
    start = 6 if data[:6] == b"Exif\0\0" else 0
    directories = TiffDirectories.parse(ByteSource.from_bytes(data[start:]), texts.budget)
    if directories is None:
        texts.add_problem("the EXIF block is damaged")
        return
    for entry in _iter_entries(directories, directories.first_offset):
        if entry.tag == ORIENTATION and texts.orientation is None:
            stated = directories.read_integer(entry)
            texts.orientation = stated if stated in range(1, 9) else None
        add_entry(texts, directories, entry)


def add_entry(texts: TextCollector, directories: TiffDirectories, entry: TiffEntry) -> None:
    """Keep the text of one tag, when it is one of those that hold texts."""
    if entry.tag in _BLOCKS:
        key, add = _BLOCKS[entry.tag]
        if texts.has_room(key, entry.byte_count):
            add(texts, directories.read_value(entry))
        return
    if entry.tag == RATING and entry.kind in _INTEGER_KINDS:
        if stars := directories.read_integer(entry):
            texts.add("exif:Rating", str(stars).encode("ascii"))
        return
    name = TEXT_TAGS.get(entry.tag)
    if entry.kind not in (1, 2, 7, 129):
        return
    if name is None:
        _add_graph(texts, directories, entry)
        return
    # Cameras put kilobytes of binary there; Fooocus puts the name of its scheme there.
    if name == "MakerNote" and entry.byte_count > _MAKER_NOTE_MAX:
        return
    if not texts.has_room(f"exif:{name}", entry.byte_count):
        return
    raw = directories.read_value(entry)
    if name == "UserComment":
        texts.add_comment("exif:UserComment", raw)
    elif name.startswith("XP"):
        texts.add(f"exif:{name}", raw, detect_utf16(raw, default="utf-16-le"))
    else:
        # NovelAI's WebP has four NULs before its ImageDescription.
        texts.add(f"exif:{name}", raw.strip(b"\0"))


def _add_graph(texts: TextCollector, directories: TiffDirectories, entry: TiffEntry) -> None:
    """Keep a ComfyUI graph that a saver put into a tag made for something else (0x8298 Copyright among them)."""
    if entry.kind != 2 or entry.byte_count < _GRAPH_BYTES_MIN:
        return
    head = directories.source.read_at(entry.offset, 32).lstrip(b"\0").lower()
    key = f"exif:0x{entry.tag:04x}"
    if head.startswith((b"prompt:", b"workflow:")) and texts.has_room(key, entry.byte_count):
        texts.add(key, directories.read_value(entry).strip(b"\0"))


def _iter_entries(directories: TiffDirectories, offset: int) -> Iterator[TiffEntry]:
    entries, _ = directories.read_entries(offset)
    yield from entries
    for entry in entries:
        if entry.tag == EXIF_DIRECTORY:
            yield from (inner for inner in directories.read_entries(directories.read_integer(entry))[0])
            return
