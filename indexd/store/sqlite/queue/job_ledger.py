"""The job ledger: admitted jobs and the state of each item. Every commit has reached the disk when it returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence

from indexd.store.protocols.jobs import JobRepository
from indexd.store.records import ItemOutput, JobFileLocation, JobItemRow, JobRow, NewJob
from indexd.store.sqlite.adapters import MAX_RETRY_DELAY_SECONDS, ids_json, utf8_text
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.row_reader import RowReader
from indexd_schemas.job_state import JobState

JobRows = list[JobRow]

_JOB = RowReader(JobRow, convert={"state": JobState}, given={"item_counts"})
# Seeds reach 2^64 - 1 and are text in the table.
_ITEM = RowReader(
    JobItemRow,
    sql={name: f"item.{name}" for name in ("id", "state", "error")} | {"index": "position"},
    convert={
        "seed": int,
        "settings": json.loads,
        "state": JobState,
        "report": json.loads,
        "scores": lambda text: json.loads(text or "{}"),
    },
)
# The folder in which a job's file should lie, by the job's state.
_EXPECTED_LOCATION = """
CASE state WHEN 'queued' THEN 'accepted' WHEN 'running' THEN 'accepted' WHEN 'done' THEN 'done' ELSE 'failed' END
"""
_MAY_START = """
(item.is_last = 0 OR NOT EXISTS (
    SELECT 1 FROM job_item AS other
    WHERE other.job_id = item.job_id AND other.id <> item.id AND other.state IN ('queued', 'running')
))
"""
_PAUSED_KEY = "queue.paused"


class JobLedger(JobRepository):
    """Jobs and their items. Attempts are counted before the work, so that a job which kills the worker is noticed."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def admit(self, job: NewJob) -> JobRow:
        with self._database.write(durable=True) as connection:
            known = connection.execute("SELECT id FROM job WHERE admission_key = ?", (job.admission_key,)).fetchone()
            job_id = known[0] if known else self._insert(connection, job)
            return _read_jobs(connection, "WHERE id = ?", (job_id,))[0]

    def _insert(self, connection: Connection, job: NewJob) -> int:
        connection.execute(
            "INSERT INTO job (name, kind, source, admission_key, inbox_name, priority, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                utf8_text(job.name),
                job.kind,
                job.source,
                job.admission_key,
                utf8_text(job.inbox_name),
                job.priority,
                self._clock(),
            ),
        )
        job_id = connection.last_insert_rowid()
        connection.executemany(
            "INSERT INTO job_item (job_id, position, seed, path, settings, is_last) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (job_id, item.index, str(item.seed), item.path, json.dumps(item.settings), item.is_last)
                for item in job.items
            ),
        )
        return job_id

    def next_item(self, now: float, excluded_jobs: Collection[int] = ()) -> JobItemRow | None:
        with self._database.read() as connection:
            if _read_pause_reason(connection) is not None:
                return None
            rows = connection.execute(
                f"""
                SELECT {_ITEM.columns} FROM job CROSS JOIN job_item AS item ON item.job_id = job.id
                WHERE job.state IN ('queued', 'running') AND item.state = 'queued' AND {_MAY_START}
                AND (item.not_before <= ?1 OR item.not_before > ?1 + ?2)
                AND job.id NOT IN (SELECT value FROM json_each(?3))
                ORDER BY job.priority DESC, job.id, item.position LIMIT 1
                """,
                (now, MAX_RETRY_DELAY_SECONDS, ids_json(excluded_jobs)),
            ).fetchall()
        return _ITEM.read(rows[0]) if rows else None

    def next_ready_at(self, excluded_jobs: Collection[int] = ()) -> float | None:
        with self._database.read() as connection:
            earliest: float | None = connection.execute(
                "SELECT min(not_before) FROM job JOIN job_item AS item ON item.job_id = job.id"
                f" WHERE job.state IN ('queued', 'running') AND item.state = 'queued' AND {_MAY_START}"
                " AND job.id NOT IN (SELECT value FROM json_each(?))",
                (ids_json(excluded_jobs),),
            ).fetchall()[0][0]
        return earliest

    def begin_attempt(self, item_id: int) -> int:
        with self._database.write(durable=True) as connection:
            rows = connection.execute(
                "UPDATE job_item SET state = 'running', attempts = attempts + 1 WHERE id = ? AND state = 'queued'"
                " RETURNING attempts, job_id",
                (item_id,),
            ).fetchall()
            if not rows:
                raise LookupError(f"item {item_id} is not queued")
            connection.execute("UPDATE job SET state = 'running' WHERE id = ? AND state = 'queued'", (rows[0][1],))
        attempts: int = rows[0][0]
        return attempts

    def stage_output(self, item_id: int, output: ItemOutput | None) -> None:
        with self._database.write(durable=True) as connection:
            if output is None:
                connection.execute(
                    "UPDATE job_item SET content_hash = NULL, seconds = NULL, report = '{}', scores = NULL"
                    " WHERE id = ? AND state <> 'done'",
                    (item_id,),
                )
            else:
                connection.execute(
                    f"UPDATE job_item SET {_SET_OUTPUT} WHERE id = ? AND state <> 'done'",
                    (*_output_values(output), item_id),
                )

    def mark_published(self, item_id: int, output: ItemOutput) -> None:
        with self._database.write(durable=True) as connection:
            connection.execute(
                f"UPDATE job_item SET state = 'done', error = NULL, {_SET_OUTPUT} WHERE id = ?",
                (*_output_values(output), item_id),
            )

    def reject(self, paths: Mapping[int, bytes]) -> None:
        with self._database.write(durable=True) as connection:
            connection.executemany(
                "UPDATE job_item SET rejected_path = ? WHERE id = ? AND state = 'done'",
                ((path, item_id) for item_id, path in paths.items()),
            )

    def mark_reject_moved(self, item_id: int) -> None:
        with self._database.write(durable=True) as connection:
            connection.execute(
                "UPDATE job_item SET path = rejected_path WHERE id = ? AND rejected_path IS NOT NULL", (item_id,)
            )

    def mark_reject_kept_in_place(self, item_id: int, reason: str) -> None:
        with self._database.write(durable=True) as connection:
            connection.execute(
                "UPDATE job_item SET rejected_path = NULL, error = ? WHERE id = ?", (utf8_text(reason), item_id)
            )

    def mark_item_failed(self, item_id: int, error: str, *, retry_at: float | None) -> None:
        with self._database.write(durable=True) as connection:
            connection.execute(
                "UPDATE job_item SET state = ?, not_before = ?, error = ? WHERE id = ? AND state IN ('queued', 'running')",
                ("failed" if retry_at is None else "queued", retry_at or 0.0, utf8_text(error), item_id),
            )

    def requeue_item(self, item_id: int) -> None:
        with self._database.write(durable=True) as connection:
            connection.execute(
                "UPDATE job_item SET state = 'queued', attempts = max(attempts - 1, 0) WHERE id = ? AND state = 'running'",
                (item_id,),
            )

    def finish(self, job_id: int, state: JobState, error: str | None = None, *, unnotified: bool = False) -> None:
        with self._database.write(durable=True) as connection:
            connection.execute(
                "UPDATE job SET state = CASE state WHEN 'cancelled' THEN state ELSE ? END, error = ?, finished_at = ?, unnotified = ? WHERE id = ?",
                (state, utf8_text(error), self._clock(), unnotified, job_id),
            )

    def cancel(self, job_id: int, *, unnotified: bool = False) -> bool:
        with self._database.write(durable=True) as connection:
            connection.execute(
                "UPDATE job SET state = 'cancelled', finished_at = ?, unnotified = ?"
                " WHERE id = ? AND state IN ('queued', 'running')",
                (self._clock(), unnotified, job_id),
            )
            if not connection.changes():
                return False
            connection.execute(
                "UPDATE job_item SET state = 'cancelled' WHERE job_id = ? AND state IN ('queued', 'running')", (job_id,)
            )
        return True

    def retry(self, job_id: int) -> int:
        with self._database.write(durable=True) as connection:
            connection.execute(
                "UPDATE job_item SET state = 'queued', attempts = 0, not_before = 0, error = NULL"
                " WHERE job_id = ? AND state IN ('failed', 'cancelled')",
                (job_id,),
            )
            count = connection.changes()
            if count:
                connection.execute(
                    "UPDATE job SET state = 'queued', error = NULL, finished_at = NULL, unnotified = 0 WHERE id = ?",
                    (job_id,),
                )
        return count

    def unnotified(self) -> JobRows:
        return self._select("WHERE unnotified = 1 ORDER BY id")

    def claim_notification(self, job_id: int) -> bool:
        with self._database.write(durable=True) as connection:
            connection.execute("UPDATE job SET unnotified = 0 WHERE id = ? AND unnotified = 1", (job_id,))
            return connection.changes() == 1

    def clear_notifications(self) -> None:
        with self._database.write() as connection:
            connection.execute("UPDATE job SET unnotified = 0 WHERE unnotified = 1")

    def get(self, job_id: int) -> JobRow | None:
        return next(iter(self._select("WHERE id = ?", (job_id,))), None)

    def by_name(self, text: str) -> JobRow | None:
        found = self._select("WHERE name = ? ORDER BY id DESC LIMIT 1", (utf8_text(text),))
        if not found and text.isascii() and text.isdigit() and len(text) < 19:
            found = self._select("WHERE id = ?", (int(text),))
        return found[0] if found else None

    def items(self, job_id: int) -> Sequence[JobItemRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT {_ITEM.columns} FROM job_item AS item WHERE job_id = ? ORDER BY position", (job_id,)
            ).fetchall()
        return [_ITEM.read(row) for row in rows]

    def item(self, item_id: int) -> JobItemRow | None:
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT {_ITEM.columns} FROM job_item AS item WHERE id = ?", (item_id,)
            ).fetchone()
        return _ITEM.read(row) if row else None

    def unfinished(self) -> JobRows:
        return self._select("WHERE state IN ('queued', 'running') ORDER BY priority DESC, id")

    def misplaced_files(self) -> JobRows:
        return self._select(f"WHERE file_location <> {_EXPECTED_LOCATION} ORDER BY id")

    def set_file_location(self, job_id: int, location: JobFileLocation) -> None:
        with self._database.write(durable=True) as connection:
            connection.execute("UPDATE job SET file_location = ? WHERE id = ?", (location, job_id))

    def counts(self) -> dict[str, int]:
        with self._database.read() as connection:
            return dict(connection.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())

    def pause(self, reason: str | None) -> None:
        with self._database.write(durable=True) as connection:
            if reason is None:
                connection.execute("DELETE FROM meta WHERE key = ?", (_PAUSED_KEY,))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_PAUSED_KEY, utf8_text(reason))
                )

    def pause_reason(self) -> str | None:
        with self._database.read() as connection:
            return _read_pause_reason(connection)

    def list(self, states: Collection[str] | None = None, limit: int = 100, *, before: int | None = None) -> JobRows:
        older = "id < coalesce(?, id + 1)"
        if states is None:
            return self._select(f"WHERE {older} ORDER BY id DESC LIMIT ?", (before, limit))
        of_states = "state IN (SELECT value FROM json_each(?))"
        return self._select(
            f"WHERE {older} AND {of_states} ORDER BY id DESC LIMIT ?", (before, json.dumps(sorted(states)), limit)
        )

    def _select(self, rest: str, bound: tuple[str | int | None, ...] = ()) -> JobRows:
        with self._database.read() as connection:
            return _read_jobs(connection, rest, bound)


def _read_jobs(connection: Connection, rest: str, bound: tuple[str | int | None, ...]) -> JobRows:
    rows = connection.execute(f"SELECT {_JOB.columns} FROM job {rest}", bound).fetchall()
    counts: dict[int, dict[str, int]] = {}
    for job_id, state, count in connection.execute(
        "SELECT job_id, state, count(*) FROM job_item WHERE job_id IN (SELECT value FROM json_each(?)) GROUP BY job_id, state",
        (json.dumps([row[0] for row in rows]),),
    ):
        counts.setdefault(job_id, {})[state] = count
    return [_JOB.read(row, item_counts=counts.get(row[0], {})) for row in rows]


def _read_pause_reason(connection: Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_PAUSED_KEY,)).fetchone()
    return row[0] if row else None


_SET_OUTPUT = "path = ?, content_hash = ?, seconds = ?, report = ?, scores = ?"


def _output_values(output: ItemOutput) -> tuple[bytes, bytes, float, str, str | None]:
    return (
        output.path,
        output.content_hash,
        output.seconds,
        json.dumps(dict(output.report)),
        json.dumps(dict(output.scores)) if output.scores else None,
    )
