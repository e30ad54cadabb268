"""Job kind `inpaint`: parts of pictures made anew. Reads pictures and masks (hashes are taken), writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import Desk, Draft
from indexd.jobs.inputs import InputPicture
from indexd.registry import handles
from indexd_schemas.job import InpaintJob


@handles("inpaint")
def inpaint(job: InpaintJob, desk: Desk) -> list[Draft]:
    """One picture for each source and seed. Raises FieldProblem."""
    drafts: list[Draft] = []
    for picture in desk.pictures(job.input):
        mask = desk.masks.of(job, picture)
        size = _size(job, desk, picture)
        drafts += desk.drafts(job, "inpaint", picture, float(job.denoise), mask=mask, size=size)
    return drafts


def _size(job: InpaintJob, desk: Desk, picture: InputPicture) -> tuple[int, int]:
    """What is worked on: with `only_masked` the size of the part, else that of the picture to the pixel."""
    if job.only_masked:
        return desk.size(job)
    size = desk.size(job, picture)
    named = job.size or job.width or job.height
    return size if named else (picture.width, picture.height)
