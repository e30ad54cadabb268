"""Job kind `txt2img`: pictures from a prompt. Reads the job alone, writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import Desk, Draft
from indexd.registry import handles
from indexd_schemas.job import Txt2ImgJob


@handles("txt2img")
def txt2img(job: Txt2ImgJob, desk: Desk) -> list[Draft]:
    """One picture a seed. Raises FieldProblem."""
    return desk.drafts(job, "txt2img")
