"""A backup: a complete index in one file, without data that can be computed again.

Vectors and their codes are left out: at a million images they are most of the index, and models compute them again. The
backup has an index task for each of them, so the file is a valid index. It is written from one snapshot on its own
connection, beside the writer and the searches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import apsw
import sqlite_vec

from indexd.errors import IndexDamaged, StorageFull, StoreError
from indexd.store.sqlite.database import PAGE_BYTES, Connection, suspect_marker, translate_errors
from indexd.store.sqlite.migrate import APPLICATION_ID
from indexd.store.sqlite.recovery.backup_retention import backup_path, delete_expired_backups, list_backups
from indexd.store.sqlite.table_kinds import DERIVED_TABLES, FULLTEXT_TABLE, non_derived_tables, user_row_counts
from indexd.store.sqlite.vectors.revisions import vector_key

# After this many steps of SQLite's virtual machine (about 10 ms) the copy pauses, for other users of disk and interpreter.
STEPS_PER_SLICE = 50_000
PAUSE_SECONDS = 0.002

ProgressCallback = Callable[[str], bool]
"""Receives the current step; returns True to cancel."""


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A finished backup: `rows` counts annotations and the job ledger by table."""

    path: Path
    byte_count: int
    rows: dict[str, int]


class BackupStopped(StoreError):
    """The backup was cancelled because the program stops."""


def write_backup(
    index: Path,
    target: Path,
    *,
    on_step: ProgressCallback = lambda _: False,
    vfs: str | None = None,
    replace: bool = False,
) -> BackupResult:
    """Write the backup of `index` to a temporary file, verify it, and rename it to `target`.

    Raises StoreError when `target` exists (unless `replace`), IndexDamaged when the index cannot be read, StorageFull,
    and BackupStopped when `on_step` returned True. Then nothing is left at `target`.
    """
    index, target = index.absolute(), target.absolute()
    if target.exists() and not replace:
        raise StoreError(f"{target} is there already and is not overwritten; name another file")
    unfinished = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write the backup {target}: {error.strerror or error}") from None
    try:
        rows = _copy_index(index, unfinished, on_step, vfs)
        verify_backup(unfinished, rows, on_step)
        _publish(unfinished, target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    return BackupResult(target, target.stat().st_size, rows)


def verify_backup(path: Path, rows: dict[str, int] | None = None, on_step: ProgressCallback = lambda _: False) -> None:
    """Read the complete backup. Raises StoreError when it is damaged, not an index, or differs from `rows`."""
    try:
        with (
            translate_errors(path),
            closing(open_immutable(path)) as connection,
            yielding_periodically(connection, on_step),
        ):
            on_step("verifying")
            if connection.pragma("application_id") != APPLICATION_ID:
                raise StoreError(f"{path} is no index of indexd")
            found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check(3)").fetchall()]
            if found != ["ok"]:
                raise StoreError(f"{path} is damaged: {'; '.join(found)}")
            orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
            if orphans:
                raise StoreError(
                    f"{path} is damaged: {len(orphans)} rows of {orphans[0][0]} and others reference missing rows"
                )
            if rows is not None and user_row_counts(cast("Connection", connection)) != rows:
                raise StoreError(f"{path} does not hold what was copied into it")
    except IndexDamaged as error:
        raise StoreError(f"{path} is damaged or not an index ({error.__cause__ or error})") from None


def open_immutable(path: Path) -> apsw.Connection:
    """A read-only connection to a file that no process writes: it takes no lock and creates no log files."""
    if not path.is_file():
        raise StoreError(f"there is no file {path}")
    connection = apsw.Connection(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    )
    load_vector_extension(connection)
    return connection


def load_vector_extension(connection: apsw.Connection) -> None:
    """Load sqlite-vec, which implements the code tables."""
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)


@contextmanager
def yielding_periodically(connection: apsw.Connection, on_step: ProgressCallback) -> Iterator[None]:
    """Pause statements after every slice, and raise BackupStopped once `on_step("")` returns True."""

    def pause() -> bool:
        time.sleep(PAUSE_SECONDS)
        return on_step("")

    connection.set_progress_handler(pause, STEPS_PER_SLICE)
    try:
        yield
    except apsw.InterruptError:
        raise BackupStopped("cancelled, because the program stops") from None
    finally:
        connection.set_progress_handler(None)


def _copy_index(index: Path, unfinished: Path, on_step: ProgressCallback, vfs: str | None) -> dict[str, int]:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    # No other process opens the unfinished file. Without locks it can be written to a network share, too.
    with translate_errors(unfinished):
        target = apsw.Connection(f"{unfinished.as_uri()}?nolock=1", flags=flags, vfs=vfs)
    with closing(target), yielding_periodically(target, on_step):
        try:
            with translate_errors(unfinished):
                target.execute(f"PRAGMA main.page_size = {PAGE_BYTES}").fetchall()
                target.execute("PRAGMA main.journal_mode = OFF").fetchall()
                target.set_busy_timeout(10_000)
                load_vector_extension(target)
                target.execute("ATTACH ? AS live", (f"{index.as_uri()}?mode=ro",)).fetchall()
                target.execute("BEGIN").fetchall()
                rows = _copy_tables(cast("Connection", target), on_step)
                target.execute("COMMIT").fetchall()
        except IndexDamaged as error:
            with suppress(OSError):
                suspect_marker(index).touch()
            raise IndexDamaged(
                f"the index {index} is damaged ({error.__cause__}); restart the daemon: it rebuilds it"
            ) from (error.__cause__)
        except StorageFull:
            raise StorageFull(f"there is no room for the backup {unfinished}; free some space") from None
    return rows


def _copy_tables(target: Connection, on_step: ProgressCallback) -> dict[str, int]:
    """Copy everything from `live` to `main` in one transaction, so from one snapshot."""
    schema = target.execute("SELECT type, name, tbl_name, sql FROM live.sqlite_schema WHERE sql IS NOT NULL").fetchall()
    tables = non_derived_tables(target, "live")
    for table in tables:
        on_step(table.name)
        target.execute(table.sql)
        columns = ", ".join(table.columns)
        target.execute(f"INSERT INTO main.{table.name} ({columns}) SELECT {columns} FROM live.{table.name}")
    for derived in DERIVED_TABLES:
        target.execute(next(sql for kind, name, _, sql in schema if (kind, name) == ("table", derived)))
    target.execute("INSERT INTO main.index_task SELECT * FROM live.index_task")
    _queue_missing_vectors(target)
    on_step(FULLTEXT_TABLE)
    _copy_fulltext(target, {name: sql for _, name, _, sql in schema if name.startswith(FULLTEXT_TABLE)})
    on_step("indexes")
    kept = {table.name for table in tables} | set(DERIVED_TABLES)
    for kind, _, of, sql in schema:
        if kind in ("index", "trigger") and of in kept:
            target.execute(sql)
    if target.execute("SELECT 1 FROM live.sqlite_schema WHERE name = 'sqlite_sequence'").fetchone():
        # Ids that users have seen are never reused, even after their row was deleted.
        target.execute("DELETE FROM main.sqlite_sequence")
        target.execute("INSERT INTO main.sqlite_sequence SELECT * FROM live.sqlite_sequence")
    for pragma in ("application_id", "user_version"):
        value = target.execute(f"PRAGMA live.{pragma}").fetchall()[0][0]
        target.execute(f"PRAGMA main.{pragma} = {value}").fetchall()
    return user_row_counts(target, "live")


def _queue_missing_vectors(target: Connection) -> None:
    """Queue index tasks for the images whose vectors are left out."""
    for revision, layer in target.execute("SELECT id, layer FROM live.revision WHERE active").fetchall():
        of = f"live.embedding_{revision}" if vector_key(layer) == "image_id" else "live.region"
        target.execute(
            f"INSERT OR IGNORE INTO main.index_task (stage, image_id) SELECT DISTINCT ?, image_id FROM {of}",
            (layer,),
        )


def _copy_fulltext(target: Connection, parts: dict[str, str]) -> None:
    """Copy the tables of the full-text index: this takes a tenth of the time of indexing every text again."""
    target.execute(parts.pop(FULLTEXT_TABLE))
    for name in parts:
        target.execute(f"DELETE FROM main.{name}")
        target.execute(f"INSERT INTO main.{name} SELECT * FROM live.{name}")


def _publish(unfinished: Path, target: Path) -> None:
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, target)
    fsync_folder(target.parent)


def fsync_folder(folder: Path) -> None:
    """Sync the entries of a folder to the disk (POSIX only)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def nightly_backup(index: Path, folder: Path, daily: int, weekly: int, now: float, *, on_step: ProgressCallback) -> str:
    """Write a backup into `folder`, then delete expired ones; returns a sentence about both.

    Raises as `write_backup` does, or OSError; then no older backup is deleted.
    """
    made = write_backup(index, backup_path(folder, now), on_step=on_step)
    gone = delete_expired_backups(folder, daily, weekly)
    kept = len(list_backups(folder))
    older = f", {len(gone)} older ones removed" if gone else ""
    return f"wrote {made.path} ({made.byte_count / 1e6:.1f} MB); {kept} kept{older}"
