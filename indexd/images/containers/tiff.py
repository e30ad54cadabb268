"""TIFF and BigTIFF: size and texts of the first page, and the number of pages (TIFF 6.0)."""

from __future__ import annotations

from indexd.errors import NotAPicture
from indexd.images.containers.exif import EXIF_DIRECTORY, Directories, add_entry
from indexd.images.containers.texts import Container, Texts, container
from indexd.images.source import Source

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

PAGES_MAX = 10_000

_WIDTH, _HEIGHT, _DNG_VERSION = 256, 257, 0xC612


def read(source: Source) -> Container:
    """Size, pages and texts of a TIFF. Raises NotAPicture for camera raw files and where no size is stated."""
    directories = Directories.of(source)
    if directories is None:
        raise NotAPicture("the TIFF header is damaged")
    texts = Texts()
    entries, following = directories.entries(directories.first)
    tags = {entry.tag: entry for entry in entries}
    if _DNG_VERSION in tags or source.at(8, 2) == b"CR":
        raise NotAPicture("camera raw files are not opened")
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise NotAPicture("the TIFF ends before it states its size")
    for entry in entries:
        add_entry(texts, directories, entry)
        if entry.tag == EXIF_DIRECTORY:
            for inner in directories.entries(directories.number(entry))[0]:
                add_entry(texts, directories, inner)
    width, height = directories.number(tags[_WIDTH]), directories.number(tags[_HEIGHT])
    return container("TIFF", width, height, _pages(directories, following), texts)


def _pages(directories: Directories, following: int) -> int:
    seen: set[int] = set()
    while following and following not in seen and len(seen) < PAGES_MAX:
        seen.add(following)
        following = directories.entries(following)[1]
    return 1 + len(seen)
