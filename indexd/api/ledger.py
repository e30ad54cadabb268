"""Jobs of the ledger as people and programs see them."""

from __future__ import annotations

from indexd.store.index import Store
from indexd.store.records import ItemRow, JobRow
from indexd.watch.paths import display
from indexd_schemas.output import Job, JobItem, ShownJob


def job_of(row: JobRow) -> Job:
    """A job as the JSON contract has it."""
    return Job(
        id=row.id,
        name=row.name,
        kind=row.kind,
        state=row.state,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
        items={state: count for state, count in row.item_counts.items() if count},
    )


def item_of(row: ItemRow) -> JobItem:
    """A picture of a job as the JSON contract has it."""
    return JobItem(
        index=row.index,
        seed=row.seed,
        state=row.state,
        attempts=row.attempts,
        path=display(row.path),
        hash=row.content_hash.hex() if row.content_hash else None,
        seconds=row.seconds,
        error=row.error,
    )


def shown_job(store: Store, row: JobRow) -> ShownJob:
    """A job with its pictures and the file as it was admitted."""
    pictures = [item_of(item) for item in store.jobs.items(row.id)]
    return ShownJob(job=job_of(row), pictures=pictures, source=row.source.decode("utf-8", "replace"))
