"""The job kinds that render whole images: txt2img, img2img, upscale and refine."""

from __future__ import annotations

from indexd.jobs.admission.planner import JobPlanner
from indexd.jobs.kinds import PlannedItem, job_kind
from indexd.jobs.render_kind import RenderKind
from indexd_schemas.jobs.job import Img2ImgJob, RefineJob, Txt2ImgJob, UpscaleJob


@job_kind
class Txt2ImgKind(RenderKind[Txt2ImgJob]):
    """One image a seed, from a prompt."""

    name, schema = "txt2img", Txt2ImgJob

    def plan(self, job: Txt2ImgJob, planner: JobPlanner) -> list[PlannedItem]:
        return planner.plan(job, "txt2img")


@job_kind
class Img2ImgKind(RenderKind[Img2ImgJob]):
    """One image for each source and seed, in the source's size where the job names none."""

    name, schema = "img2img", Img2ImgJob

    def plan(self, job: Img2ImgJob, planner: JobPlanner) -> list[PlannedItem]:
        images = planner.select_inputs(job.input)
        return [item for image in images for item in planner.plan(job, "img2img", image, job.denoise)]


@job_kind
class UpscaleKind(RenderKind[UpscaleJob]):
    """One image for each finished image and seed, enlarged by a model."""

    name, schema = "upscale", UpscaleJob

    def plan(self, job: UpscaleJob, planner: JobPlanner) -> list[PlannedItem]:
        images = planner.select_inputs(job.input)
        return [item for image in images for item in planner.plan(job, "upscale", image, finished=True)]


@job_kind
class RefineKind(RenderKind[RefineJob]):
    """One image for each finished image and seed, denoised once more in tiles."""

    name, schema = "refine", RefineJob

    def plan(self, job: RefineJob, planner: JobPlanner) -> list[PlannedItem]:
        images = planner.select_inputs(job.input)
        return [item for image in images for item in planner.plan(job, "refine", image, finished=True)]
