"""Reads all readable rows of a damaged table, and records the key ranges that could not be read.

A damaged page ends a scan with an error. The scan then tries ascending keys until one behind the page can be read. The
keys between are a gap. Only gaps are filled from a backup, so that a tag removed since the backup does not return.

An index may also lack its header (the first 100 bytes), or end within a page. The header of every index is known, so a VFS
substitutes it while the file is read; the file is not written. SQLite would read the missing rest of a truncated page as
zeros, so such a page counts as lost. Layout: https://sqlite.org/fileformat2.html#the_database_header
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from indexd.store.sqlite.database import PAGE_BYTES
from indexd.store.sqlite.migrate import APPLICATION_ID, migrations
from indexd.store.sqlite.table_kinds import TableSchema

BATCH_ROWS = 1000
# A lost leaf page has some hundred rows, a lost page above it some ten thousand. Beyond that the strides grow.
SMALL_STRIDES = 100_000
SMALL_STRIDES_FROM_NOTHING = 2_000
LARGEST_KEY = 2**62

# A changed byte can also make a text invalid UTF-8.
_DAMAGE = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class KeyGap:
    """A range of unreadable keys, both ends included; None = unbounded."""

    low: Any = None
    high: Any = None


@dataclass(slots=True)
class SalvageResult:
    """The gaps of one table, filled while its rows are consumed."""

    gaps: list[KeyGap] = field(default_factory=list)


def salvage_rows(
    source: apsw.Connection, table: TableSchema, columns: Sequence[str], reading: SalvageResult
) -> Iterator[Row]:
    """The readable rows of `columns` of a table; unreadable key ranges are added to `reading`."""
    scan = _KeyScan(source, table, columns)
    try:
        yield from scan.ascending(None)
        return
    except _DAMAGE:
        # Continued below, behind the damaged page.
        pass
    if not isinstance(scan.last, int):
        yield from _from_both_ends(scan, reading)
        return
    small_strides = SMALL_STRIDES if scan.found else SMALL_STRIDES_FROM_NOTHING
    # When several rows share a key, only some rows of the last key may have been read.
    lost_from = scan.last + 1 if table.key == "rowid" else scan.last
    position, tries = scan.last + 1, 0
    while position < LARGEST_KEY:
        scan.found = False
        try:
            yield from scan.ascending(position)
        except _DAMAGE:
            if scan.found:
                _record_gap(reading, lost_from, scan.first - 1)
                lost_from = scan.last + 1 if table.key == "rowid" else scan.last
                position = scan.last + 1
                tries = 0
                continue
            tries += 1
            position += 1 if tries < small_strides else 2 ** min(tries - small_strides, 60)
            continue
        _record_gap(reading, lost_from, scan.first - 1 if scan.found else None)
        return
    _record_gap(reading, lost_from, None)


def _record_gap(reading: SalvageResult, low: int, high: int | None) -> None:
    if high is None or high >= low:
        reading.gaps.append(KeyGap(low, high))


def _from_both_ends(scan: _KeyScan, reading: SalvageResult) -> Iterator[Row]:
    """Text and blob keys cannot be enumerated, so the rest is read in descending order."""
    low = scan.last
    try:
        yield from scan.descending()
    except _DAMAGE:
        reading.gaps.append(KeyGap(low, scan.last if scan.found else None))
    else:
        # The descending scan read everything, so nothing is missing.
        return


class _KeyScan:
    """A scan of a table in key order that remembers its first and last key."""

    def __init__(self, source: apsw.Connection, table: TableSchema, columns: Sequence[str]) -> None:
        self._source = source
        self._select = f"SELECT {table.key}, {', '.join(columns)} FROM {table.name}"
        # Read only the table itself: its indexes may be damaged separately.
        if table.key == "rowid":
            self._select += " NOT INDEXED"
        self._key = table.key
        self.last: Any = 0 if table.key == "rowid" else None
        self.first: Any = None
        self.found = False

    def ascending(self, start: Any) -> Iterator[Row]:
        where, bound = (f"WHERE {self._key} >= ?", (start,)) if start is not None else ("", ())
        yield from self._rows(f"{self._select} {where} ORDER BY {self._key}", bound)

    def descending(self) -> Iterator[Row]:
        self.found = False
        yield from self._rows(f"{self._select} ORDER BY {self._key} DESC", (), descending=True)

    def _rows(self, sql: str, bound: Row, *, descending: bool = False) -> Iterator[Row]:
        for key, *values in self._source.execute(sql, bound):
            if not self.found:
                self.first = key
            elif isinstance(key, int) and (key > self.last if descending else key < self.last):
                raise apsw.CorruptError("keys out of order")
            self.found, self.last = True, key
            yield tuple(values)


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
