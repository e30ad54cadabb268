"""Job kind `upscale`: finished pictures, enlarged by a model. Reads the pictures (hashes are taken), writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import Desk, Draft
from indexd.registry import handles
from indexd_schemas.job import UpscaleJob


@handles("upscale")
def upscale(job: UpscaleJob, desk: Desk) -> list[Draft]:
    """One picture for each source and seed, through the stages that the job switches on. Raises FieldProblem."""
    pictures = desk.pictures(job.input)
    return [draft for picture in pictures for draft in desk.drafts(job, "upscale", picture, finished=True)]
