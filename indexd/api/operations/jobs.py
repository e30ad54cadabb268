"""Operations on render jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexd.api.context import OperationContext
from indexd.api.operations.registry import operation
from indexd.errors import NothingFound, UsageError
from indexd_schemas.api.output import JobList, JobPreview, JobSummary, ShownJob
from indexd_schemas.api.requests import JobListRequest, JobSelector, PreviewRequest, SubmitRequest

if TYPE_CHECKING:
    from indexd.store.records import JobRow


@operation("GET", "/v1/jobs")
def list_jobs(context: OperationContext, request: JobListRequest) -> JobList:
    """List the newest jobs, in some states or in all."""
    from indexd.api.cursors import decode_cursor, encode_cursor

    # The states are part of the cursor's kind: it is refused for another list.
    kind = " ".join(("jobs", *sorted(request.states)))
    before = None if request.cursor is None else decode_cursor(kind, request.cursor)[0]
    rows = context.store.jobs.list(request.states or None, request.limit, before=before)
    more = encode_cursor(kind, rows[-1].id) if len(rows) == request.limit else None
    return JobList(jobs=[_job_summary(row) for row in rows], next=more)


@operation("GET", "/v1/job")
def show_job(context: OperationContext, request: JobSelector) -> ShownJob:
    """Show one job with its items."""
    return _shown_job(context, _find_job(context, request.which))


@operation("POST", "/v1/jobs")
def submit(context: OperationContext, request: SubmitRequest) -> ShownJob:
    """Admit a job file. An invalid one is refused with line and column."""
    if "/" in request.name or "\\" in request.name or request.name in (".", ".."):
        raise UsageError(f"a job's name is a file name without folders (got {request.name!r})")
    return _shown_job(context, context.require_daemon("submit").jobs.submit(request.source.encode(), request.name))


@operation("POST", "/v1/jobs/preview")
def preview(context: OperationContext, request: PreviewRequest) -> JobPreview:
    """Plan a job file without admitting it: how many images, which prompts and choices, and how long."""
    from indexd.jobs.preview import preview_job
    from indexd.registry import load_handlers

    load_handlers()
    return preview_job(context.config, context.store, request.source.encode(), request.name, request.sample)


@operation("POST", "/v1/job/cancel")
def cancel_job(context: OperationContext, request: JobSelector) -> ShownJob:
    """Stop a job within one denoising step. Published images stay."""
    jobs, row = context.require_daemon("jobs cancel").jobs, _find_job(context, request.which)
    jobs.cancel(row.id)
    return _shown_job(context, _find_job(context, str(row.id)))


@operation("POST", "/v1/job/retry")
def retry_job(context: OperationContext, request: JobSelector) -> ShownJob:
    """Queue the failed and cancelled items of a job again."""
    jobs, row = context.require_daemon("jobs retry").jobs, _find_job(context, request.which)
    jobs.retry(row.id)
    return _shown_job(context, _find_job(context, str(row.id)))


def _shown_job(context: OperationContext, row: JobRow) -> ShownJob:
    """A job with its items, the progress of those that run, and the job file as it was admitted."""
    from indexd.jobs.job_report import item_report

    progress = {} if context.daemon is None else context.daemon.jobs.progress
    ended = row.state.is_final
    items = [
        item_report(item, ended=ended, progress=progress.get(item.id)) for item in context.store.jobs.items(row.id)
    ]
    return ShownJob(job=_job_summary(row), items=items, source=row.source.decode("utf-8", "replace"))


def _job_summary(row: JobRow) -> JobSummary:
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


def _find_job(context: OperationContext, which: str) -> JobRow:
    jobs = context.store.jobs
    row = jobs.get(int(which)) if which.isascii() and which.isdigit() and len(which) < 19 else None
    row = row or jobs.by_name(which)
    if row is None:
        raise NothingFound(f"there is no job {which!r}; `indexd jobs list` shows them")
    return row
