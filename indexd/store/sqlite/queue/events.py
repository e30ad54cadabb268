"""The small ledger of what the daemon noticed: rescans and why, lost events, offline roots, worker deaths."""

from __future__ import annotations

from collections.abc import Callable

from indexd.store.protocols.admin import EventRepository
from indexd.store.records import EventRow
from indexd.store.sqlite.adapters import utf8_text
from indexd.store.sqlite.database import Database

KEPT_EVENTS = 10_000


class Events(EventRepository):
    """The newest KEPT_EVENTS events; older ones make room."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add(self, kind: str, text: str, root_id: int | None = None) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO event (at, kind, text, root_id) VALUES (?, ?, ?, ?)",
                (self._clock(), kind, utf8_text(text), root_id),
            )
            connection.execute("DELETE FROM event WHERE id <= ?", (connection.last_insert_rowid() - KEPT_EVENTS,))

    def recent(self, n: int) -> list[EventRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT at, kind, text, root_id FROM event ORDER BY id DESC LIMIT ?", (n,)
            ).fetchall()
        return [EventRow(*row) for row in rows]

    def count(self, kind: str) -> int:
        with self._database.read() as connection:
            count: int = connection.execute("SELECT count(*) FROM event WHERE kind = ?", (kind,)).fetchall()[0][0]
        return count
