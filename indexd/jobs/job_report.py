"""What is written beside a finished job file, and the recipe of a picture with its place in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexd.fs.paths import display
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import Rendered
from indexd_schemas.api import output
from indexd_schemas.recipe import Recipe


def item_report(item: JobItemRow, *, ended: bool) -> output.JobItem:
    """One picture of a job; `ended` = the job has come to its end."""
    judged = ended and item.state == "done" and "keep" in item.settings
    return output.JobItem(
        index=item.index,
        seed=item.seed,
        state=item.state,
        attempts=item.attempts,
        path=display(item.path),
        hash=item.content_hash.hex() if item.content_hash else None,
        seconds=item.seconds,
        error=item.error,
        stage_seconds=item.report.get("seconds", {}),
        scores=item.scores,
        kept=item.rejected_path is None if judged else None,
        notes=[*item.settings.get("notes", ()), *item.report.get("notes", ())],
    )


def job_result(job: JobRow, items: Sequence[JobItemRow]) -> output.JobResult:
    """What stands in `x.result.json`: the job, every picture with seed and hash, and every recipe."""
    return output.JobResult(
        job_id=job.id,
        name=job.name,
        kind=job.kind,
        state=job.state,
        error=job.error,
        created_at=job.created_at,
        finished_at=job.finished_at or job.created_at,
        pictures=[item_report(item, ended=True) for item in items],
        recipes=[recipe_with_job(job, item).model_dump(mode="json") for item in items],
    )


def render_report(rendered: Rendered) -> dict[str, Any]:
    """What is kept of a render beside the picture itself."""
    seconds = {stage: round(taken, 4) for stage, taken in rendered.seconds.items()}
    return {"seconds": seconds, "notes": list(rendered.notes)}


def recipe_with_job(job: JobRow, item: JobItemRow) -> Recipe:
    """The recipe of an item with its place in the ledger, as the image will carry it."""
    return Recipe.model_validate(item.settings["recipe"]).model_copy(update={"job": f"{job.id}/{item.index}"})
