"""Scores of finished images, and the rule that keeps or rejects them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from indexd_schemas.jobs.job_part import JobPart

ScoreName = Literal["clip", "aesthetic", "sharpness"]
SCORES: tuple[ScoreName, ...] = ("clip", "aesthetic", "sharpness")

ScoreComparison = Callable[[float, float], bool]
COMPARISONS: Mapping[str, ScoreComparison] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}

_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_LIMIT = re.compile(r"\s*(>=|<=|>|<|)\s*(-?\d+(?:\.\d+)?)\s*")


def _parse_limit(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f">={value:g}"
    match = _LIMIT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a limit such as ">=0.25", or a number for at least that')
    return f"{match[1] or '>='}{match[2]}"


def _parse_top(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("must be at least 1")
        return value
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError("must be a number of images such as 3, or a share such as 10%")
    return f"{match[1]}%"


ScoreLimit = Annotated[
    str,
    BeforeValidator(_parse_limit),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": _LIMIT.pattern}]}),
]
KeepTop = Annotated[
    int | str,
    BeforeValidator(_parse_top),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _SHARE.pattern}]}),
]


class Keep(JobPart):
    """Which images to keep. The others move to `rejected/` when the job ends. Limits apply before `top`."""

    top: KeepTop | None = Field(
        None, description="Number of best images to keep, or their share (rounded up).", examples=["10%", 3]
    )
    by: ScoreName | None = Field(
        None, description="The score that `top` ranks by. Default: the first of `score`.", examples=["aesthetic"]
    )
    clip: ScoreLimit | None = Field(None, description="Limit for the CLIP score.", examples=[">=0.25"])
    aesthetic: ScoreLimit | None = Field(None, description="Limit for the aesthetic score.", examples=[">6"])
    sharpness: ScoreLimit | None = Field(None, description="Limit for the sharpness.", examples=[">=100"])

    @model_validator(mode="after")
    def _not_empty(self) -> Keep:
        if self.top is None and not self.limits:
            raise ValueError("needs `top`, or a limit for clip, aesthetic or sharpness")
        if self.by is not None and self.top is None:
            raise ValueError("`by` needs `top`")
        return self

    @property
    def limits(self) -> dict[ScoreName, str]:
        """The given limits by score."""
        values = {name: getattr(self, name) for name in SCORES}
        return {name: limit for name, limit in values.items() if limit is not None}


def is_within_limit(value: float, limit: str) -> bool:
    """Compares a value with a limit such as `>=0.25`."""
    sign = next(sign for sign in COMPARISONS if limit.startswith(sign))
    return COMPARISONS[sign](value, float(limit.removeprefix(sign)))


def keep_count(top: int | str, count: int) -> int:
    """How many of `count` images `top` keeps; rounds a share up."""
    if isinstance(top, int):
        return min(top, count)
    return min(count, -int(-float(top.removesuffix("%")) * count // 100))
