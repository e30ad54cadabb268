"""Job kind `inpaint`: parts of pictures made anew. Reads pictures and masks (hashes are taken), writes nothing."""

from __future__ import annotations

from indexd.jobs.admission.inputs import InputImage
from indexd.jobs.admission.planner import JobPlanner, PlannedImage
from indexd.registry import handles
from indexd_schemas.jobs.job import InpaintJob


@handles("inpaint")
def inpaint(job: InpaintJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture for each source and seed. Raises FieldProblem."""
    drafts: list[PlannedImage] = []
    for picture in planner.select_inputs(job.input):
        mask = planner.masks.resolve(job, picture)
        size = _work_size(job, planner, picture)
        drafts += planner.plan(job, "inpaint", picture, float(job.denoise), mask=mask, size=size)
    return drafts


def _work_size(job: InpaintJob, planner: JobPlanner, image: InputImage) -> tuple[int, int]:
    """What is worked on: with `only_masked` the size of the part, else that of the picture to the pixel."""
    if job.only_masked:
        return planner.resolve_size(job)
    size = planner.resolve_size(job, image)
    named = job.size or job.width or job.height
    return size if named else (image.width, image.height)
