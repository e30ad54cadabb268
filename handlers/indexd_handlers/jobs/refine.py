"""Job kind `refine`: a finished picture, denoised once more in tiles. Reads the picture (its hash is taken), writes nothing."""

from __future__ import annotations

from indexd.jobs.expand import Desk, Draft
from indexd.registry import handles
from indexd_schemas.job import RefineJob


@handles("refine")
def refine(job: RefineJob, desk: Desk) -> list[Draft]:
    """One picture a seed, all from the same one, through the stages that the job switches on. Raises FieldProblem."""
    return desk.drafts(job, "refine", desk.picture(job.input), finished=True)
