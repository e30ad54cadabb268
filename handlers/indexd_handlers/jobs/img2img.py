"""Job kind `img2img`: pictures from a prompt and a picture. Reads the source picture (its hash is taken), writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import Desk, Draft
from indexd.registry import handles
from indexd_schemas.job import Img2ImgJob


@handles("img2img")
def img2img(job: Img2ImgJob, desk: Desk) -> list[Draft]:
    """One picture a seed, all from the same source, in its size where the job names none. Raises FieldProblem."""
    return desk.drafts(job, "img2img", desk.picture(job.input), float(job.denoise))
