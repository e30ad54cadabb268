"""Job kind `upscale`: finished pictures, enlarged by a model. Reads the pictures (hashes are taken), writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import JobPlanner, PlannedImage
from indexd.registry import handles
from indexd_schemas.job import UpscaleJob


@handles("upscale")
def upscale(job: UpscaleJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture for each source and seed, through the stages that the job switches on. Raises FieldProblem."""
    pictures = planner.select_inputs(job.input)
    return [draft for picture in pictures for draft in planner.plan(job, "upscale", picture, finished=True)]
