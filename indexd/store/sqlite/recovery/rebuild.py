"""Rebuilds a damaged index from its readable rows, fills gaps from a backup, and queues the rest for processing.

Vectors, the full text and the index tasks are not salvaged but recomputed. An image that lost a part of its metadata keeps
its row and its annotations, and the next scan reads its file again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw

from indexd.store.records import StageInput
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.store.sqlite.library.fulltext_refill import mark_fulltext_current
from indexd.store.sqlite.library.image_writer import LOST_HASH_PREFIX, METADATA_LOST
from indexd.store.sqlite.library.metadata_columns import CHILD_TABLES
from indexd.store.sqlite.migrate import open_database
from indexd.store.sqlite.recovery.backup import ProgressCallback, load_vector_extension, open_immutable
from indexd.store.sqlite.recovery.index_swap import delete_index_files
from indexd.store.sqlite.recovery.salvage import (
    BATCH_ROWS,
    KeyGap,
    SalvageResult,
    open_with_header,
    read_header_if_truncated,
    reconstruct_header,
    salvage_rows,
)
from indexd.store.sqlite.table_kinds import (
    LEDGER_TABLES,
    USER_DATA_TABLES,
    TableSchema,
    non_derived_tables,
    user_row_counts,
)
from indexd.store.sqlite.vectors.revisions import IMAGES_WITH_INPUT_SQL

_Item = TypeVar("_Item")

_CHILD_TABLE_NAMES = tuple(part.table for part in CHILD_TABLES)
# No file has this size, so the next scan sees a change and reads the file again.
_UNREAD_SIZE = -1


@dataclass(slots=True)
class RebuildReport:
    """Counts by table: `rows` of annotations and the job ledger in the new index, unreadable `gaps`, rows `filled` from the
    backup, rows `dropped` because their image or job is lost. `unread`: images whose files must be read again."""

    rows: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    unread: int = 0


def rebuild(
    damaged: Path, target: Path, backup: Path | None, stages: Mapping[str, StageInput], on_step: ProgressCallback
) -> RebuildReport:
    """Write a complete index to `target`, replacing a partial one. The sources are only read.

    `stages`: index stage -> its input. Raises StorageFull on a full disk.
    """
    delete_index_files(target)
    rebuilt = RebuildReport()
    try:
        with closing(open_database(target)) as database, database.write(durable=True) as connection:
            # Rows may precede the rows that they reference; the commit checks all references.
            connection.pragma("defer_foreign_keys", 1)
            _copy_readable(connection, damaged, backup, rebuilt, on_step)
            on_step("repairing references")
            _add_placeholder_images(connection, time.time())
            _drop_orphans(connection, rebuilt)
            _queue_rereading(connection, rebuilt)
            _queue_index_tasks(connection, stages)
            _rebuild_fulltext(connection, on_step)
            rebuilt.rows = user_row_counts(connection)
    except BaseException:
        delete_index_files(target)
        raise
    return rebuilt


def _copy_readable(
    connection: Connection, damaged: Path, backup: Path | None, rebuilt: RebuildReport, on_step: ProgressCallback
) -> None:
    source = _open_damaged(damaged)
    known = _readable_tables(source)
    spare = open_immutable(backup) if backup is not None else None
    kept = _readable_tables(spare)
    try:
        for table in non_derived_tables(connection):
            on_step(table.name)
            reading = SalvageResult([] if known else [KeyGap()])
            if source is not None and (theirs := known.get(table.name)) is not None:
                columns = [name for name in table.columns if name in theirs.columns]
                _insert(connection, table, columns, _salvage_table(source, theirs, columns, reading))
            if reading.gaps:
                rebuilt.gaps[table.name] = len(reading.gaps)
            if spare is not None and table.name in kept:
                for gap in reading.gaps:
                    rebuilt.filled[table.name] = rebuilt.filled.get(table.name, 0) + _fill_gap_from_backup(
                        connection, table, spare, kept[table.name], gap
                    )
            # If nothing could be read, the backup is consistent by itself, and the scan finds newer files.
            _mark_for_reread(connection, table, [gap for gap in reading.gaps if spare is None or gap != KeyGap()])
    finally:
        for opened in (source, spare):
            if opened is not None:
                opened.close()


def _open_damaged(damaged: Path) -> apsw.Connection | None:
    """Open the damaged index and its log for reading; None when even its schema cannot be read."""
    try:
        header = read_header_if_truncated(damaged)
        if header is not None:
            connection = open_with_header(damaged, header)
        else:
            connection = apsw.Connection(str(damaged), flags=apsw.SQLITE_OPEN_READWRITE)
        _prepare_for_salvage(connection)
    except apsw.Error:
        return _open_without_header(damaged)
    return connection


def _open_without_header(damaged: Path) -> apsw.Connection | None:
    header = reconstruct_header(damaged)
    if header is None:
        return None
    try:
        connection = open_with_header(damaged, header)
        _prepare_for_salvage(connection)
    except apsw.Error:
        return None
    return connection


def _prepare_for_salvage(connection: apsw.Connection) -> None:
    """Make the connection read-only, and tolerant of a truncated file and of tables without a root page."""
    load_vector_extension(connection)
    connection.execute("PRAGMA query_only = ON").fetchall()
    # With writable_schema SQLite ignores a damaged table instead of refusing the whole schema.
    connection.execute("PRAGMA writable_schema = ON").fetchall()
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()


def _readable_tables(connection: apsw.Connection | None) -> dict[str, TableSchema]:
    if connection is None:
        return {}
    try:
        return {table.name: table for table in non_derived_tables(cast("Connection", connection))}
    except (apsw.CorruptError, apsw.SQLError, UnicodeDecodeError):
        return {}


def _salvage_table(
    source: apsw.Connection, table: TableSchema, columns: list[str], reading: SalvageResult
) -> Iterable[tuple[Any, ...]]:
    try:
        yield from salvage_rows(source, table, columns, reading)
    except apsw.SQLError:
        # The schema entry of the table is damaged.
        reading.gaps.append(KeyGap())


def _insert(connection: Connection, table: TableSchema, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert rows and skip those that violate a constraint (a rating of 200), which are damaged too."""
    before = connection.execute("SELECT total_changes()").fetchall()[0][0]
    sql = f"INSERT OR IGNORE INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    for batch in _batches(rows):
        try:
            connection.executemany(sql, batch)
        except apsw.ConstraintError:
            for row in batch:
                _insert_one(connection, sql, row)
    after: int = connection.execute("SELECT total_changes()").fetchall()[0][0]
    return after - int(before)


def _insert_one(connection: Connection, sql: str, row: tuple[Any, ...]) -> None:
    try:
        connection.execute(sql, row)
    except apsw.ConstraintError:
        return


def _fill_gap_from_backup(
    connection: Connection, table: TableSchema, spare: apsw.Connection, theirs: TableSchema, gap: KeyGap
) -> int:
    columns = [name for name in table.columns if name in theirs.columns]
    bounds = [(">=", gap.low), ("<=", gap.high)]
    given = [(sign, value) for sign, value in bounds if value is not None]
    where = " AND ".join(f"{theirs.key} {sign} ?" for sign, _ in given) or "1"
    rows = spare.execute(
        f"SELECT {', '.join(columns)} FROM {table.name} WHERE {where}", tuple(value for _, value in given)
    )
    return _insert(connection, table, columns, rows)


def _mark_for_reread(connection: Connection, table: TableSchema, gaps: list[KeyGap]) -> None:
    """Mark images that may have lost rows of this table for reading again."""
    if table.name not in _CHILD_TABLE_NAMES:
        return
    for gap in gaps:
        connection.execute(
            "UPDATE image SET parser_version = ? WHERE id BETWEEN coalesce(?, 0) AND coalesce(?, id)",
            (METADATA_LOST, gap.low, gap.high),
        )


def _add_placeholder_images(connection: Connection, now: float) -> None:
    """Insert a placeholder row for each lost image with a known file, so that its annotations are kept.

    Reading the unchanged file again replaces the placeholder hash by the real one.
    """
    connection.execute(
        """
        INSERT INTO image (id, content_hash, byte_count, format, width, height, frame_count, added_at, created_at,
                           parser_version, decode_problem)
        SELECT image_id, CAST(? || image_id AS BLOB), 0, '', 0, 0, 1, ?, max(mtime_ns) / 1e9, ?, ?
        FROM file WHERE image_id IS NOT NULL AND image_id NOT IN (SELECT id FROM image) GROUP BY image_id
        """,
        (LOST_HASH_PREFIX, now, METADATA_LOST, "its row in the index was lost; it waits for its file to be read again"),
    )


def _drop_orphans(connection: Connection, rebuilt: RebuildReport) -> None:
    """Delete rows whose image, root or job is lost, repeatedly, because a deleted row may orphan others."""
    tables = non_derived_tables(connection)
    again = True
    while again:
        again = False
        for table in tables:
            links = connection.execute(
                'SELECT "table", "from", coalesce("to", \'id\') FROM pragma_foreign_key_list(?)', (table.name,)
            ).fetchall()
            for parent, column, to in links:
                connection.execute(
                    f"DELETE FROM {table.name} WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {to} FROM {parent})"
                )
                if connection.changes():
                    again = True
                    rebuilt.dropped[table.name] = rebuilt.dropped.get(table.name, 0) + connection.changes()


def _queue_rereading(connection: Connection, rebuilt: RebuildReport) -> None:
    """Mark the files of incomplete images as changed, so that the next scan reads them."""
    connection.execute(
        "UPDATE image SET parser_version = ? WHERE id NOT IN (SELECT image_id FROM image_text)", (METADATA_LOST,)
    )
    connection.execute(
        "INSERT INTO image_text (image_id) SELECT id FROM image WHERE id NOT IN (SELECT image_id FROM image_text)"
    )
    if "raw_chunk" in rebuilt.gaps:
        connection.execute(
            "UPDATE image SET parser_version = ?"
            " WHERE generator IS NOT NULL AND id NOT IN (SELECT image_id FROM raw_chunk)",
            (METADATA_LOST,),
        )
    connection.execute(
        "UPDATE file SET size = ? WHERE image_id IN (SELECT id FROM image WHERE parser_version = ?)",
        (_UNREAD_SIZE, METADATA_LOST),
    )
    rebuilt.unread = connection.execute(
        "SELECT count(*) FROM image WHERE parser_version = ?", (METADATA_LOST,)
    ).fetchall()[0][0]


def _queue_index_tasks(connection: Connection, stages: Mapping[str, StageInput]) -> None:
    for stage, of in stages.items():
        connection.execute(
            f"INSERT OR IGNORE INTO index_task (stage, image_id) SELECT ?, image_id FROM ({IMAGES_WITH_INPUT_SQL[of]})",
            (stage,),
        )


def _rebuild_fulltext(connection: Connection, on_step: ProgressCallback) -> None:
    on_step("indexing the full text")
    ids = (image_id for (image_id,) in connection.execute("SELECT id FROM image ORDER BY id").fetchall())
    for batch in _batches(ids):
        refresh_fulltext(connection, batch)
    mark_fulltext_current(connection)


def describe_row_counts(rows: Mapping[str, int]) -> str:
    """The counts as text: `rating 12, tag 40, job 3`."""
    counts = [f"{table} {rows[table]}" for table in USER_DATA_TABLES + LEDGER_TABLES if rows.get(table)]
    return ", ".join(counts) or "none"


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH_ROWS)):
        yield batch
