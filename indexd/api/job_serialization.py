"""Jobs as JSON documents."""

from __future__ import annotations

from indexd.jobs.job_report import item_report
from indexd.store.protocols import IndexStore
from indexd.store.records import JobRow
from indexd_schemas.api.output import JobSummary, ShownJob


def serialize_job(row: JobRow) -> JobSummary:
    return JobSummary(
        id=row.id,
        name=row.name,
        kind=row.kind,
        state=row.state,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
        items={state: count for state, count in row.item_counts.items() if count},
    )


def serialize_shown_job(store: IndexStore, row: JobRow) -> ShownJob:
    """A job with its items and the job file as it was admitted."""
    ended = row.state not in ("queued", "running")
    items = [item_report(item, ended=ended) for item in store.jobs.items(row.id)]
    return ShownJob(job=serialize_job(row), pictures=items, source=row.source.decode("utf-8", "replace"))
