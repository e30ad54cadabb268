"""The watched folders."""

from __future__ import annotations

from indexd.store.protocols.files import RootRepository
from indexd.store.records import RootRow
from indexd.store.sqlite.adapters import utf8_text
from indexd.store.sqlite.database import Database
from indexd.store.sqlite.library.fulltext import refresh_fulltext

_COLUMNS = "id, path, purpose, online, identity, mode, reason, foreign_identity, foreign_file_count, folder_tags"


class Roots(RootRepository):
    """One row per folder that is or was watched. A folder that left the settings keeps its row and its images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure(self, path: bytes, purpose: str, folder_tags: bool | None = None) -> RootRow:
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO root (path, purpose) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET purpose = excluded.purpose",
                (path, purpose),
            )
            row = connection.execute(f"SELECT {_COLUMNS} FROM root WHERE path = ?", (path,)).fetchall()[0]
            if folder_tags is not None and folder_tags != bool(row[-1]):
                connection.execute("UPDATE root SET folder_tags = ? WHERE id = ?", (int(folder_tags), row[0]))
                held = connection.execute(
                    "SELECT DISTINCT image_id FROM file WHERE root_id = ? AND image_id IS NOT NULL", (row[0],)
                )
                refresh_fulltext(connection, [image_id for (image_id,) in held.fetchall()])
                row = (*row[:-1], int(folder_tags))
        return _root_row(row)

    def all(self) -> list[RootRow]:
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM root ORDER BY id").fetchall()
        return [_root_row(row) for row in rows]

    def set_state(
        self,
        root_id: int,
        *,
        online: bool,
        identity: str | None,
        mode: str,
        reason: str,
        foreign_root: tuple[str, int] | None = None,
    ) -> None:
        foreign_identity, foreign_file_count = foreign_root or (None, 0)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE root SET online = ?, identity = ?, mode = ?, reason = ?, foreign_identity = ?, foreign_file_count = ? WHERE id = ?",
                (int(online), identity, mode, utf8_text(reason), foreign_identity, foreign_file_count, root_id),
            )


def _root_row(row: tuple[int, bytes, str, int, str | None, str, str, str | None, int, int]) -> RootRow:
    root_id, path, purpose, online, identity, mode, reason, foreign_identity, foreign_file_count, folder_tags = row
    foreign_root = None if foreign_identity is None else (foreign_identity, foreign_file_count)
    return RootRow(root_id, path, purpose, bool(online), identity, mode, reason, bool(folder_tags), foreign_root)
