"""The job kind `inpaint`: parts of images are rendered again."""

from __future__ import annotations

from indexd.jobs.admission.inputs import InputImage
from indexd.jobs.admission.planner import JobPlanner
from indexd.jobs.kinds import PlannedItem, job_kind
from indexd.jobs.render_kind import RenderKind
from indexd_schemas.jobs.job import InpaintJob


@job_kind
class InpaintKind(RenderKind[InpaintJob]):
    """One image for each source and seed."""

    name, schema = "inpaint", InpaintJob

    def plan(self, job: InpaintJob, planner: JobPlanner) -> list[PlannedItem]:
        items: list[PlannedItem] = []
        for image in planner.select_inputs(job.input):
            mask = planner.masks.resolve(job, image)
            size = _work_size(job, planner, image)
            items += planner.plan(job, "inpaint", image, job.denoise, mask=mask, size=size)
        return items


def _work_size(job: InpaintJob, planner: JobPlanner, image: InputImage) -> tuple[int, int]:
    """The size that is rendered: with `only_masked` that of the part, else that of the image to the pixel."""
    if job.only_masked:
        return planner.resolve_size(job)
    size = planner.resolve_size(job, image)
    is_named = job.size or job.width or job.height
    return size if is_named else (image.width, image.height)
