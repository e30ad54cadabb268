"""Reading what can be read of a damaged table, and knowing exactly what could not.

A damaged page ends a scan with an error. Rows before it are read forwards; then the scan is taken up behind the page, by
asking for one key after the other until an answer comes. What lies between is a gap, and only gaps are filled from a
backup: a tag that was taken off since then is not put on again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from indexd.store.sqlite.table_kinds import TableSchema

BATCH_ROWS = 1000
# A lost leaf holds some hundred rows, a lost page above it some ten thousand. Beyond that strides get longer.
SMALL_STRIDES = 100_000
SMALL_STRIDES_FROM_NOTHING = 2_000
LARGEST_KEY = 2**62

# A wrong byte may also make a text that is none.
_DAMAGE = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class KeyGap:
    """Keys that could not be read, both ends included; None = everything from or up to there."""

    low: Any = None
    high: Any = None


@dataclass(slots=True)
class SalvageResult:
    """What came out of one table. `gaps` is filled while `rows` is used up."""

    gaps: list[KeyGap] = field(default_factory=list)


def salvage_rows(
    source: apsw.Connection, table: TableSchema, columns: Sequence[str], reading: SalvageResult
) -> Iterator[Row]:
    """The rows of `columns` of a table that can be read; what cannot is noted in `reading`."""
    scan = _KeyScan(source, table, columns)
    try:
        yield from scan.ascending(None)
        return
    except _DAMAGE:
        # What follows is read in other ways.
        pass
    if not isinstance(scan.last, int):
        yield from _from_both_ends(scan, reading)
        return
    small_strides = SMALL_STRIDES if scan.found else SMALL_STRIDES_FROM_NOTHING
    # Where several rows share a key, those of the last one may be read in part.
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
    """Keys that are no numbers cannot be tried one by one: the rest is read from the other end."""
    low = scan.last
    try:
        yield from scan.descending()
    except _DAMAGE:
        reading.gaps.append(KeyGap(low, scan.last if scan.found else None))
    else:
        # Downwards everything could be read, so nothing is missing.
        return


class _KeyScan:
    """One walk through a table in the order of its key; remembers the last key it gave."""

    def __init__(self, source: apsw.Connection, table: TableSchema, columns: Sequence[str]) -> None:
        self._source = source
        self._select = f"SELECT {table.key}, {', '.join(columns)} FROM {table.name}"
        # Only the table itself is walked: what an index says of it may be damaged on its own.
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
