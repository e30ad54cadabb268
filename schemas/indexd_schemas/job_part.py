"""What every part of a job file is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class JobPart(BaseModel):
    """Base of all parts of a job file: unknown keys refused, a number is not text and text is not a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
