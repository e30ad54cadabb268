"""Detects a damaged index: a quick check at every start, and the whole file after an earlier process found damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from indexd.store.sqlite.database import suspect_marker, translate_errors
from indexd.store.sqlite.migrate import APPLICATION_ID
from indexd.store.sqlite.recovery.backup import ProgressCallback, load_vector_extension

_SQLITE_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_AT = 68
_SCHEMA_TEXT = b"CREATE TABLE raw_chunk"
_SCHEMA_BYTES = 1 << 18
_ZEROED_BYTES = 4096


def find_damage(index: Path, *, has_backups: bool, on_step: ProgressCallback = lambda _: False) -> str | None:
    """A description of the damage, or None. No other process may have the index open for writing.

    The quick check reads the header, compares the file length with it, and reads both ends of every table. If an earlier
    process left the damage marker, every page is read. A file that never was an index is not damage: opening it refuses
    it unchanged. Raises StoreError when the disk cannot be read.
    """
    if not index.exists():
        return None
    if index.stat().st_size == 0:
        return "the file is empty" if has_backups else None
    if not _is_or_was_index(index):
        return "the file is empty" if has_backups and _is_empty(index) else None
    try:
        with _translate_errors_except_damage(index), closing(_open_for_checking(index)) as connection:
            return (
                _check_length(connection, index)
                or _check_tables(connection)
                or _check_all_pages(connection, index, on_step)
            )
    except (apsw.CorruptError, apsw.NotADBError) as error:
        return str(error)


@contextmanager
def _translate_errors_except_damage(index: Path) -> Iterator[None]:
    """Like `translate_errors`, but damage passes as SQLite's own error."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError):
        raise
    except apsw.Error:
        with translate_errors(index):
            raise


def _is_or_was_index(index: Path) -> bool:
    """Whether the file is an index of this program, or was one before it lost its header."""
    with index.open("rb") as file:
        head = file.read(_SCHEMA_BYTES)
    application = int.from_bytes(head[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big")
    if head.startswith(_SQLITE_MAGIC) and application == APPLICATION_ID:
        return True
    return _SCHEMA_TEXT in head or not any(head[:_ZEROED_BYTES])


def _is_empty(index: Path) -> bool:
    """Whether the SQLite file has no tables: the rest of a new index whose log was deleted."""
    try:
        with closing(_open_for_checking(index)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
    except apsw.Error:
        return False


def _open_for_checking(index: Path) -> apsw.Connection:
    connection = apsw.Connection(str(index), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(2000)
    load_vector_extension(connection)
    return connection


def _check_length(connection: apsw.Connection, index: Path) -> str | None:
    """Checkpoint the log, then compare the length of the file with its header."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
    if busy:
        # With an active reader the file may legitimately lag behind its log.
        return None
    expected = connection.pragma("page_size") * connection.pragma("page_count")
    size = index.stat().st_size
    return f"the file has {size} bytes of {expected}" if size < expected else None


def _check_tables(connection: apsw.Connection) -> str | None:
    """Read the first and the last row of every table, which reads each tree from its root."""
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage > 0").fetchall()
    if connection.pragma("application_id") != APPLICATION_ID:
        return "the header does not say that it is an index"
    for name, sql in rows:
        connection.execute(f'SELECT * FROM "{name}" LIMIT 1').fetchall()
        if "WITHOUT ROWID" not in str(sql or "").rpartition(")")[2].upper():
            connection.execute(f'SELECT * FROM "{name}" ORDER BY rowid DESC LIMIT 1').fetchall()
    return None


def _check_all_pages(connection: apsw.Connection, index: Path, on_step: ProgressCallback) -> str | None:
    if not suspect_marker(index).exists():
        return None
    on_step("reading every page, because an earlier process found damage")
    found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check(3)").fetchall()]
    if found != ["ok"]:
        return "; ".join(found)
    suspect_marker(index).unlink(missing_ok=True)
    return None
