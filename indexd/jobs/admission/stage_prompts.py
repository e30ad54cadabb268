"""The prompts that stages of a job have of their own, for those who read all texts of a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from indexd_schemas.jobs.job import Job

FieldPath = tuple[str | int, ...]


def stage_prompts(job: Job) -> Iterator[tuple[FieldPath, str]]:
    """Every prompt that a stage has of its own, with its place in the job file."""
    parts: list[tuple[FieldPath, Any]] = [(("hires",), job.hires), (("refine",), job.refine)]
    parts += [(("detail", index), one) for index, one in enumerate(job.detail)]
    for place, part in parts:
        for key in ("prompt", "negative_prompt"):
            text = getattr(part, key, None)
            if text is not None:
                yield (*place, key), text
        for index, text in enumerate(getattr(part, "prompts", None) or ()):
            yield (*place, "prompts", index), text
