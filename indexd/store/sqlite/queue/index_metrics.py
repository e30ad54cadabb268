"""Numbers of the index that are watched over time: how the ledger stands, how long renders took, what has waited longest."""

from __future__ import annotations

from indexd.store.protocols.admin import MetricsRepository
from indexd.store.records import IndexMetrics
from indexd.store.sqlite.database import Database


class MetricsReader(MetricsRepository):
    """Reads them all in one snapshot."""

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
