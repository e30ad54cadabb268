"""Key-value pairs, events and metrics: what the daemon records about the index and about itself."""

from __future__ import annotations

from collections.abc import Callable

from indexd.store.protocols.admin import EventRepository, KeyValueRepository, MetricsRepository
from indexd.store.records import EventRow, IndexMetrics
from indexd.store.sqlite.adapters import utf8_text
from indexd.store.sqlite.database import Database


class KeyValueTable(KeyValueRepository):
    """Key and value, both text."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> str | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def set(self, key: str, value: str | None) -> None:
        with self._database.write() as connection:
            if value is None:
                connection.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


KEPT_EVENTS = 10_000


class Events(EventRepository):
    """The newest KEPT_EVENTS events; older ones are deleted."""

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


class MetricsReader(MetricsRepository):
    """Reads all numbers of the index metrics in one snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def snapshot(self) -> IndexMetrics:
        with self._database.read() as connection:
            renders, seconds = connection.execute("SELECT count(seconds), total(seconds) FROM job_item").fetchall()[0]
            return IndexMetrics(
                job_items_by_state=dict(
                    connection.execute("SELECT state, count(*) FROM job_item GROUP BY state").fetchall()
                ),
                renders=renders,
                render_seconds=seconds,
                oldest_open_job_at=connection.execute(
                    "SELECT min(created_at) FROM job WHERE state IN ('queued', 'running')"
                ).fetchall()[0][0],
                # Images are given their ids in order, so the lowest id has waited longest.
                oldest_task_at_by_stage=dict(
                    connection.execute(
                        "SELECT stage, added_at FROM (SELECT stage, min(image_id) AS oldest FROM index_task"
                        " WHERE state IN ('pending', 'running') GROUP BY stage) JOIN image ON image.id = oldest"
                    ).fetchall()
                ),
                unreadable_files=connection.execute(
                    "SELECT count(*) FROM file WHERE problem IS NOT NULL AND missing_since IS NULL"
                ).fetchall()[0][0],
                events=dict(connection.execute("SELECT kind, count(*) FROM event GROUP BY kind").fetchall()),
            )
