"""`template:` of a job: prompts with template syntax, and which of their combinations are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from indexd_schemas.jobs.job_part import JobPart
from indexd_schemas.limits import MAX_SEED

TemplateOrder = Literal["product", "random", "cyclic"]
DEFAULT_MAX_COMBINATIONS = 500


class JobTemplate(JobPart):
    """Expands template syntax in the prompts: variants, wildcards and variables (docs/templates.md)."""

    order: TemplateOrder | None = Field(
        None,
        description="Order of the combinations: product, random (without repeats) or cyclic. "
        "Default: product, or random if `count` takes only some of them.",
        examples=["random"],
    )
    seed: int | None = Field(
        None,
        ge=-1,
        le=MAX_SEED,
        description="Seed of the random order and of random slots. Default or -1: random.",
        examples=[7],
    )
    max: int = Field(
        DEFAULT_MAX_COMBINATIONS,
        ge=1,
        description="Refuse a job without `count` that has more combinations.",
        examples=[2000],
    )
