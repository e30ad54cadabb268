"""The kind of each table: user data, job ledger, or derived data.

A new table of user data is added to USER_DATA_TABLES. Backup, restore, check and rebuild then include it. Tables that are
not listed here hold facts about files, and are kept as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from indexd.store.sqlite.database import Connection

USER_DATA_TABLES: tuple[str, ...] = (
    "rating",
    "tag",
    "note",
    "pending_annotation",
    "character",
    "face_label",
    "pending_face_label",
    "character_separation",
    "correction",
)
"""Entered by users and stored only in the index, so it must never be lost."""

LEDGER_TABLES: tuple[str, ...] = ("job", "job_item")
"""Admitted jobs with the bytes of their files, and the state of each item."""

DERIVED_TABLES: tuple[str, ...] = ("revision", "index_task")
"""Recomputed from the other tables, like the vector and code tables that `revision` names."""

FULLTEXT_TABLE = "prompt_fts"
_DERIVED_PREFIXES = ("embedding_", "codes_", "sqlite_")


@dataclass(frozen=True, slots=True)
class TableSchema:
    """An ordinary table. `key` orders its rows in the file: the rowid, or the first column of the primary key."""

    name: str
    sql: str
    columns: tuple[str, ...]
    key: str


def non_derived_tables(connection: Connection, database: str = "main") -> list[TableSchema]:
    """Every table except derived ones, in the order of creation."""
    rows = connection.execute(f"SELECT name, type, sql FROM {database}.sqlite_schema ORDER BY rowid").fetchall()
    virtual = tuple(f"{name}_" for name, kind, sql in rows if kind == "table" and sql.startswith("CREATE VIRTUAL"))
    found = []
    for name, kind, sql in rows:
        if kind != "table" or sql.startswith("CREATE VIRTUAL") or name.startswith((*virtual, *_DERIVED_PREFIXES)):
            continue
        if name in DERIVED_TABLES:
            continue
        columns = connection.execute("SELECT name, pk FROM pragma_table_info(?, ?)", (name, database)).fetchall()
        without_rowid = "WITHOUT ROWID" in sql.rpartition(")")[2].upper()
        first_of_key = next((column for column, place in columns if place == 1), None)
        key = first_of_key if without_rowid and first_of_key is not None else "rowid"
        found.append(TableSchema(name, sql, tuple(column for column, _ in columns), key))
    return found


def user_row_counts(connection: Connection, database: str = "main") -> dict[str, int]:
    """The row counts of the user data and ledger tables."""
    return {
        table: connection.execute(f"SELECT count(*) FROM {database}.{table}").fetchall()[0][0]
        for table in USER_DATA_TABLES + LEDGER_TABLES
    }
