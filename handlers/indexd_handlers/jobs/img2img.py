"""Job kind `img2img`: pictures from a prompt and pictures. Reads the source pictures (hashes are taken), writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import JobPlanner, PlannedImage
from indexd.registry import handles
from indexd_schemas.job import Img2ImgJob


@handles("img2img")
def img2img(job: Img2ImgJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture for each source and seed, in the source's size where the job names none. Raises FieldProblem."""
    pictures = planner.select_inputs(job.input)
    return [draft for picture in pictures for draft in planner.plan(job, "img2img", picture, float(job.denoise))]
