"""Job kind `txt2img`: pictures from a prompt. Reads the job alone, writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import JobPlanner, PlannedImage
from indexd.registry import handles
from indexd_schemas.job import Txt2ImgJob


@handles("txt2img")
def txt2img(job: Txt2ImgJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture a seed. Raises FieldProblem."""
    return planner.plan(job, "txt2img")
