"""Reads an index whose header (the first 100 bytes) is lost, or that ends within a page.

The header of every index is known, so a VFS substitutes it while the file is read; the file is not written. SQLite would
read the missing rest of a truncated page as zeros, so such a page counts as lost.
Layout: https://sqlite.org/fileformat2.html#the_database_header
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import apsw

from indexd.store.sqlite.database import PAGE_BYTES
from indexd.store.sqlite.migrate import APPLICATION_ID, migrations

HEADER_BYTES = 100
_TABLE_PAGES = (0x05, 0x0D)
_vfs_numbers = itertools.count(1)


def read_header_if_truncated(index: Path) -> bytes | None:
    """The header of a file that ends within a page; None for a whole number of pages."""
    size = index.stat().st_size
    if size < PAGE_BYTES or size % PAGE_BYTES == 0:
        return None
    with index.open("rb") as file:
        return file.read(HEADER_BYTES)


def reconstruct_header(index: Path) -> bytes | None:
    """The header that the file should have; None when no table page follows it."""
    size = index.stat().st_size
    with index.open("rb") as file:
        file.seek(HEADER_BYTES)
        kind = file.read(1)
    if size < PAGE_BYTES or not kind or kind[0] not in _TABLE_PAGES:
        return None
    log = index.with_name(f"{index.name}-wal")
    form = 2 if log.exists() and log.stat().st_size else 1
    changes, version = 1, apsw.SQLITE_VERSION_NUMBER
    # fmt: off
    return struct.pack(
        ">16sH6B12I20x2I", b"SQLite format 3\0", PAGE_BYTES, form, form, 0, 64, 32, 32,
        changes, size // PAGE_BYTES, 0, 0, 1, 4, 0, 0, 1, len(migrations()), 0, APPLICATION_ID, changes, version,
    )
    # fmt: on


def open_with_header(index: Path, header: bytes) -> apsw.Connection:
    """A connection that reads the complete pages of `index` with `header` in place of its own."""
    vfs = _HeaderVFS(f"header-{next(_vfs_numbers)}", str(index), header)
    return apsw.Connection(str(index), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs.name)


class _HeaderVFS(apsw.VFS):
    def __init__(self, name: str, index: str, header: bytes) -> None:
        super().__init__(name, "")
        self.name = name
        self._index = index
        self._header = header

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return _HeaderFile(name, flags, self._header)
        return apsw.VFSFile("", name, flags)


class _HeaderFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], header: bytes) -> None:
        super().__init__("", name, flags)
        self._header = header

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        data: bytes = super().xRead(amount, offset)
        if offset >= HEADER_BYTES:
            return data
        return (self._header[offset:] + data[HEADER_BYTES - offset :])[:amount]

    def xFileSize(self) -> int:  # noqa: N802
        size: int = super().xFileSize()
        return size - size % PAGE_BYTES

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802, ARG002
        raise apsw.ReadOnlyError("the damaged index is opened read-only")
