"""Classifies tables: user data, job ledger, or derived (recomputable). Backups and rebuilding depend on it.

A new table of things that people enter is one more line in USER_DATA_TABLES. Backups, `restore`, `check` and the rebuilding
of a damaged index then take care of it; tables that are named nowhere here are facts, kept by all of them as well.
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
"""What people entered. It is nowhere but in the index, so it is what must never be lost."""

LEDGER_TABLES: tuple[str, ...] = ("job", "job_item")
"""What was promised: admitted jobs with their bytes, and what became of each picture."""

DERIVED_TABLES: tuple[str, ...] = ("revision", "index_task")
"""Made again from the rest. The tables of vectors and codes, which `revision` names, are the others."""

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
    """Every table of facts and entries, without what is derived, in the order of its making."""
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
    """How many rows each table of entries and of the ledger has."""
    return {
        table: connection.execute(f"SELECT count(*) FROM {database}.{table}").fetchall()[0][0]
        for table in USER_DATA_TABLES + LEDGER_TABLES
    }
