"""Job kind `txt2img`: pictures from a prompt. Reads the job alone, writes nothing."""

from __future__ import annotations

from indexd.jobs.admission.planner import JobPlanner, PlannedImage
from indexd.registry import handles
from indexd_schemas.jobs.job import Img2ImgJob, RefineJob, Txt2ImgJob, UpscaleJob


@handles("txt2img")
def txt2img(job: Txt2ImgJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture a seed. Raises FieldProblem."""
    return planner.plan(job, "txt2img")


# Job kind `img2img`: pictures from a prompt and pictures. Reads the source pictures (hashes are taken), writes nothing.


@handles("img2img")
def img2img(job: Img2ImgJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture for each source and seed, in the source's size where the job names none. Raises FieldProblem."""
    pictures = planner.select_inputs(job.input)
    return [draft for picture in pictures for draft in planner.plan(job, "img2img", picture, float(job.denoise))]


# Job kind `upscale`: finished pictures, enlarged by a model. Reads the pictures (hashes are taken), writes nothing.


@handles("upscale")
def upscale(job: UpscaleJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture for each source and seed, through the stages that the job switches on. Raises FieldProblem."""
    pictures = planner.select_inputs(job.input)
    return [draft for picture in pictures for draft in planner.plan(job, "upscale", picture, finished=True)]


# Job kind `refine`: finished pictures, denoised once more in tiles. Reads the pictures (hashes are taken), writes nothing.


@handles("refine")
def refine(job: RefineJob, planner: JobPlanner) -> list[PlannedImage]:
    """One picture for each source and seed, through the stages that the job switches on. Raises FieldProblem."""
    pictures = planner.select_inputs(job.input)
    return [draft for picture in pictures for draft in planner.plan(job, "refine", picture, finished=True)]
