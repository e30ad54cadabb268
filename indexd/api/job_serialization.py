"""Jobs as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping

from indexd.jobs.job_report import item_report
from indexd.store.protocols import IndexStore
from indexd.store.records import JobRow
from indexd.worker.calls import CallProgress
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


def serialize_shown_job(store: IndexStore, row: JobRow, progress: Mapping[int, CallProgress]) -> ShownJob:
    """A job with its items, the progress of those that run (by item id), and the job file as it was admitted."""
    ended = row.state.is_final
    items = [item_report(item, ended=ended, progress=progress.get(item.id)) for item in store.jobs.items(row.id)]
    return ShownJob(job=serialize_job(row), items=items, source=row.source.decode("utf-8", "replace"))
