"""TIFF and BigTIFF: size and texts of the first page, and the number of pages (TIFF 6.0)."""

from __future__ import annotations

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers.exif import EXIF_DIRECTORY, TiffDirectories, TiffEntry, add_entry
from indexd.image_metadata.containers.text_collector import Container, TextCollector, build_container
from indexd.image_metadata.errors import UnreadableImage

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

PAGES_MAX = 10_000

_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES, _STRIPS_MAX = 273, 279, 324, 325, 100_000
_WIDTH, _HEIGHT, _DNG_VERSION = 256, 257, 0xC612


def read_tiff(source: ByteSource) -> Container:
    """Size, pages and texts of a TIFF. Raises UnreadableImage for camera raw files and where no size is stated."""
    texts = TextCollector()
    directories = TiffDirectories.parse(source, texts.budget)
    if directories is None:
        raise UnreadableImage("the TIFF header is damaged")
    entries, following = directories.read_entries(directories.first_offset)
    tags = {entry.tag: entry for entry in entries}
    if _DNG_VERSION in tags or source.read_at(8, 2) == b"CR":
        raise UnreadableImage("camera raw files are not opened")
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise UnreadableImage("the TIFF ends before it states its size")
    for entry in entries:
        add_entry(texts, directories, entry)
        if entry.tag == EXIF_DIRECTORY:
            for inner in directories.read_entries(directories.read_integer(entry))[0]:
                add_entry(texts, directories, inner)
    texts.note_end(_pixel_end(directories, tags), source.size)
    width, height = directories.read_integer(tags[_WIDTH]), directories.read_integer(tags[_HEIGHT])
    return build_container("TIFF", width, height, _count_pages(directories, following), texts)


def _pixel_end(directories: TiffDirectories, tags: dict[int, TiffEntry]) -> int:
    """The offset behind the last strip or tile."""
    for place, length in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        if place in tags and length in tags:
            offsets, lengths = (directories.read_integers(tags[tag], _STRIPS_MAX) for tag in (place, length))
            return max(map(sum, zip(offsets, lengths, strict=False)), default=0)
    return 0


def _count_pages(directories: TiffDirectories, following: int) -> int:
    seen: set[int] = set()
    while following and following not in seen and len(seen) < PAGES_MAX:
        seen.add(following)
        following = directories.read_next_offset(following)
    return 1 + len(seen)
