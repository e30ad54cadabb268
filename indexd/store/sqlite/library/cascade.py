"""Cascading deletes: removes every row that references an image or region, in any table with such a column."""

from __future__ import annotations

from collections.abc import Collection

from indexd.store.records import VectorKey
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.table_kinds import USER_DATA_TABLES

_TABLES_WITH_COLUMN = """
SELECT sqlite_schema.name FROM sqlite_schema JOIN pragma_table_info(sqlite_schema.name) AS part
WHERE sqlite_schema.type = 'table' AND part.name = ?
"""


def cascade_delete(connection: Connection, key: VectorKey, ids: Collection[int], except_table: str = "") -> None:
    """Delete the rows that reference these images or regions, except in `except_table`. Their own rows stay."""
    wanted = ids_json(ids)
    for (table,) in connection.execute(_TABLES_WITH_COLUMN, (key,)).fetchall():
        if table != except_table:
            connection.execute(f"DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))", (wanted,))


def annotated_regions(connection: Connection, regions: Collection[int]) -> set[int]:
    """Those of these regions that a row of USER_DATA_TABLES references."""
    annotated: set[int] = set()
    referencing = (
        {table for (table,) in connection.execute(_TABLES_WITH_COLUMN, ("region_id",)).fetchall()} if regions else set()
    )
    for table in referencing.intersection(USER_DATA_TABLES):
        rows = connection.execute(
            f"SELECT region_id FROM {table} WHERE region_id IN (SELECT value FROM json_each(?))", (ids_json(regions),)
        )
        annotated.update(region_id for (region_id,) in rows)
    return annotated
