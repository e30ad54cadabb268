"""Jobs and their items as `x.result.json` and `indexd jobs show` state them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexd.fs.paths import display
from indexd.jobs.queue.series_sheet import is_sheet
from indexd.registry import job_kinds
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import CallProgress
from indexd_schemas.api import output
from indexd_schemas.job_state import JobState


def item_report(item: JobItemRow, *, ended: bool, progress: CallProgress | None = None) -> output.JobItem:
    """One item of a job; `ended` = the job has ended; `progress` is that of its call while it runs."""
    judged = ended and item.state is JobState.DONE and "keep" in item.settings
    return output.JobItem(
        index=item.index,
        seed=item.seed,
        state=item.state,
        attempts=item.attempts,
        path=display(item.path),
        hash=item.content_hash.hex() if item.content_hash and item.state is JobState.DONE else None,
        seconds=item.seconds,
        error=item.error,
        stage_seconds=item.report.get("seconds", {}),
        scores=item.scores,
        kept=item.rejected_path is None if judged else None,
        progress=None
        if progress is None
        else output.ItemProgress(stage=progress.stage, done=progress.done, total=progress.total),
        notes=[*item.settings.get("notes", ()), *item.report.get("notes", ())],
    )


def job_result(job: JobRow, items: Sequence[JobItemRow]) -> output.JobResult:
    """The content of `x.result.json`: the job, every item with seed and hash, and how each was made."""
    return output.JobResult(
        job_id=job.id,
        name=job.name,
        kind=job.kind,
        state=job.state,
        error=job.error,
        created_at=job.created_at,
        finished_at=job.finished_at or job.created_at,
        items=[item_report(item, ended=True) for item in items],
        recipes=[_record(job.kind, item) for item in items],
    )


def _record(kind_name: str, item: JobItemRow) -> dict[str, Any]:
    kind = None if is_sheet(item) else job_kinds.get(kind_name)
    record: dict[str, Any] = dict(item.settings) if kind is None else kind.record(item)
    return record
