"""The watched folders."""

from __future__ import annotations

from indexd.store.database import Database
from indexd.store.records import RootRow
from indexd.store.values import plain_text

_COLUMNS = "id, path, purpose, online, identity, mode, reason"


class Roots:
    """One row a folder that is, or once was, watched. Rows stay: a folder that left the settings keeps its pictures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure(self, path: bytes, purpose: str) -> RootRow:
        """The row of the folder `path` (absolute), made when it is new; `purpose` is "images" or "jobs"."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO root (path, purpose) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET purpose = excluded.purpose",
                (path, purpose),
            )
            row = connection.execute(f"SELECT {_COLUMNS} FROM root WHERE path = ?", (path,)).fetchall()[0]
        return _root(row)

    def all(self) -> list[RootRow]:
        """Every root, in the order in which they were first seen."""
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM root ORDER BY id").fetchall()
        return [_root(row) for row in rows]

    def set_state(self, root_id: int, *, online: bool, identity: str | None, mode: str, reason: str) -> None:
        """Note how a root is watched now, and whether it is there."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE root SET online = ?, identity = ?, mode = ?, reason = ? WHERE id = ?",
                (int(online), identity, mode, plain_text(reason), root_id),
            )


def _root(row: tuple[int, bytes, str, int, str | None, str, str]) -> RootRow:
    return RootRow(row[0], row[1], row[2], bool(row[3]), *row[4:])
