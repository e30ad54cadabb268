"""Index tasks: the missing work of each image, as rows instead of a queue in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable

from indexd.store.protocols.index_tasks import IndexTaskRepository
from indexd.store.records import IndexTask, IndexTaskRow
from indexd.store.sqlite.adapters import MAX_RETRY_DELAY_SECONDS, ids_json, utf8_text
from indexd.store.sqlite.database import Database

_IS_READY = "state = 'pending' AND (not_before <= ?2 OR not_before > ?2 + ?3)"
CLAIM_WINDOW = 8
"""Ready tasks looked at for each that is wanted, where some have to wait for an earlier stage."""
_OF_STAGE = "stage = ? AND image_id IN (SELECT value FROM json_each(?))"


class IndexTasks(IndexTaskRepository):
    """One row per stage and image: pending, running, failed or blocked. A finished task has no row.

    "blocked": the image has no file. When a file appears, a trigger of the schema makes the row pending again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, stage: str, limit: int, now: float, after: str = "") -> list[IndexTask]:
        with self._database.write() as connection:
            rows = connection.execute(
                f"""
                SELECT image_id, attempts + 1 FROM (
                    SELECT image_id, attempts FROM index_task AS ready WHERE stage = ?1 AND {_IS_READY}
                    ORDER BY image_id LIMIT ?6
                ) AS ready WHERE NOT EXISTS (
                    SELECT 1 FROM index_task AS earlier WHERE earlier.stage = ?5 AND earlier.image_id = ready.image_id
                        AND (state = 'running' OR {_IS_READY})
                ) ORDER BY image_id LIMIT ?4
                """,
                (stage, now, MAX_RETRY_DELAY_SECONDS, limit, after, limit * CLAIM_WINDOW),
            ).fetchall()
            connection.execute(
                f"UPDATE index_task SET state = 'running', attempts = attempts + 1 WHERE {_OF_STAGE}",
                (stage, ids_json(image_id for image_id, _ in rows)),
            )
        return [IndexTask(image_id, stage, attempts) for image_id, attempts in rows]

    def waiting_stages(self, ids: Iterable[int], stages: Iterable[str]) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        with self._database.read() as connection:
            for image_id, stage in connection.execute(
                "SELECT image_id, stage FROM index_task WHERE state = 'pending'"
                " AND stage IN (SELECT value FROM json_each(?)) AND image_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(stages)), ids_json(ids)),
            ):
                found.setdefault(image_id, set()).add(stage)
        return found

    def mark_done(self, stage: str, ids: Iterable[int]) -> None:
        with self._database.write() as connection:
            connection.execute(f"DELETE FROM index_task WHERE {_OF_STAGE}", (stage, ids_json(ids)))

    def mark_failed(self, stage: str, image_id: int, error: str, *, retry_at: float | None) -> None:
        with self._database.write() as connection:
            connection.execute(
                "UPDATE index_task SET state = ?, not_before = ?, error = ? WHERE stage = ? AND image_id = ?",
                ("failed" if retry_at is None else "pending", retry_at or 0.0, utf8_text(error), stage, image_id),
            )

    def mark_blocked(self, stage: str, image_id: int, error: str, *, retry_at: float) -> None:
        with self._database.write() as connection:
            connection.execute(
                """
                UPDATE index_task SET attempts = max(attempts - 1, 0), not_before = ?, error = ?, state = iif(EXISTS (
                    SELECT 1 FROM file JOIN root ON root.id = root_id
                    WHERE file.image_id = index_task.image_id AND missing_since IS NULL AND online
                ), 'pending', 'blocked') WHERE stage = ? AND image_id = ?
                """,
                (retry_at, utf8_text(error), stage, image_id),
            )

    def requeue(self, stage: str, ids: Iterable[int]) -> None:
        with self._database.write() as connection:
            connection.execute(
                f"UPDATE index_task SET state = 'pending', attempts = max(attempts - 1, 0) WHERE {_OF_STAGE} AND state = 'running'",
                (stage, ids_json(ids)),
            )

    def reset_running(self) -> int:
        with self._database.write() as connection:
            connection.execute(
                "UPDATE index_task SET state = 'pending', attempts = max(attempts - 1, 0) WHERE state = 'running'"
            )
            return connection.changes()

    def retry(self, stage: str | None = None) -> int:
        with self._database.write() as connection:
            connection.execute(
                "UPDATE index_task SET state = 'pending', attempts = 0, not_before = 0, error = NULL"
                " WHERE state = 'failed' AND stage = coalesce(?, stage)",
                (stage,),
            )
            return connection.changes()

    def counts(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for stage, state, count in connection.execute(
                "SELECT stage, state, count(*) FROM index_task GROUP BY stage, state"
            ):
                found.setdefault(stage, {})[state] = count
        return found

    def of_image(self, image_id: int) -> list[IndexTaskRow]:
        with self._database.read() as connection:
            # The stages are few: stepping from one to the next in the key is quicker than a second index is to keep.
            rows = connection.execute(
                """
                WITH RECURSIVE stages (name) AS (
                    SELECT min(stage) FROM index_task
                    UNION ALL
                    SELECT (SELECT min(stage) FROM index_task WHERE stage > name) FROM stages WHERE name IS NOT NULL
                )
                SELECT image_id, stage, state, attempts, not_before, error
                FROM stages JOIN index_task ON stage = name AND image_id = ?
                """,
                (image_id,),
            ).fetchall()
        return [IndexTaskRow(*row) for row in rows]
