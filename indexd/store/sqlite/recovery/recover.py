"""Recovery of the index at a start, before it is opened: completes an interrupted swap, detects damage, rebuilds.

Damage is looked for by a quick check at every start, and in the whole file after an earlier process found some.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from indexd.errors import StoreError
from indexd.store.records import StageInput
from indexd.store.sqlite.database import suspect_marker, translate_errors
from indexd.store.sqlite.migrate import APPLICATION_ID
from indexd.store.sqlite.recovery.backup import ProgressCallback, fsync_folder, load_vector_extension, verify_backup
from indexd.store.sqlite.recovery.backup_retention import BackupFile, list_backups
from indexd.store.sqlite.recovery.index_swap import finish_swap, incoming_path, swap_index
from indexd.store.sqlite.recovery.rebuild import RebuildReport, describe_row_counts, rebuild

REASON_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """A damaged index was renamed to `aside`; missing rows came from `backup`."""

    reason: str
    aside: Path | None
    backup: BackupFile | None
    rebuilt: RebuildReport

    def summary(self) -> str:
        """A sentence for the log and for `status`."""
        parts = [
            f"the index was damaged ({self.reason}); it was set aside as {self.aside} and rebuilt",
            f"entries kept: {describe_row_counts(self.rebuilt.rows)}",
        ]
        filled = sum(self.rebuilt.filled.values())
        if self.backup is not None and self.rebuilt.gaps:
            parts.append(f"{filled} rows came from the backup of {self.backup.at:%Y-%m-%d %H:%M} UTC")
        elif self.rebuilt.gaps:
            parts.append("there was no valid backup to restore unreadable rows from")
        if self.rebuilt.dropped:
            lost = ", ".join(f"{table} {count}" for table, count in self.rebuilt.dropped.items())
            parts.append(f"rows without their image or job stay only in the set-aside file: {lost}")
        if self.rebuilt.unread:
            parts.append(f"{self.rebuilt.unread} images are read again")
        parts.append("vectors are computed again")
        return "; ".join(parts)


def recover_index(
    index: Path,
    backup_folder: Path,
    now: float,
    stages: Mapping[str, StageInput],
    *,
    on_step: ProgressCallback = lambda _: False,
) -> RecoveryReport | None:
    """Replace a damaged index at `index` by a rebuilt one; returns None for an intact index.

    The caller holds the instance lock and opens the index afterwards. Raises StoreError (StorageFull) when the new index
    cannot be written; then the damaged one stays in place.
    """
    index = index.absolute()
    finish_swap(index, now)
    backups = list_backups(backup_folder)
    reason = find_damage(index, has_backups=bool(backups), on_step=on_step)
    if reason is None:
        return None
    reason = " ".join(reason.split())[:REASON_CHARACTERS]
    on_step(f"the index {index} is damaged ({reason}); it is rebuilt, which takes a while")
    backup = _newest_valid(backups)
    ready = incoming_path(index)
    unfinished = ready.with_name(f"{ready.name}.part")
    rebuilt = rebuild(index, unfinished, backup.path if backup else None, stages, on_step)
    os.replace(unfinished, ready)
    fsync_folder(index.parent)
    return RecoveryReport(reason, swap_index(index, "damaged", now), backup, rebuilt)


def _newest_valid(backups: list[BackupFile]) -> BackupFile | None:
    for backup in backups:
        try:
            verify_backup(backup.path)
        except StoreError:
            continue
        return backup
    return None


def describe_missing_index(index: Path, backup_folder: Path) -> str | None:
    """The message for a missing index of which backups exist; None otherwise."""
    if index.exists() or incoming_path(index).exists():
        return None
    newest = next(iter(list_backups(backup_folder)), None)
    if newest is None:
        return None
    return (
        f"there is no index at {index}, so an empty one was made, but there is a backup of {newest.at:%Y-%m-%d %H:%M}"
        f" UTC; to bring back what you entered, stop indexd and run: indexd restore {shlex.quote(str(newest.path))}"
    )


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
