"""Base model of all parts of a job file, and the `832x1216` form of a size."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, WithJsonSchema

from indexd_schemas.contract import Contract
from indexd_schemas.limits import MAX_SIDE_PX, MIN_SIDE_PX, SIZE_STEP_PX

_SIZE = re.compile(r"\s*(\d+)\s*[x×*]\s*(\d+)\s*", re.IGNORECASE)


class JobPart(Contract):
    """Base of all parts of a job file. Refuses unknown keys and does not convert between numbers and text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _parse_size(value: Any) -> Any:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or max(map(len, match.groups())) > 6:
        raise ValueError("must be width x height, such as 832x1216")
    return f"{int(match[1])}x{int(match[2])}"


Size = Annotated[
    str, BeforeValidator(_parse_size), WithJsonSchema({"type": "string", "pattern": r"^\s*\d+\s*[x×*]\s*\d+\s*$"})
]


def _check_work_size(size: str) -> str:
    if any(side % SIZE_STEP_PX or not MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in parse_sides(size)):
        raise ValueError(f"both sides must be multiples of {SIZE_STEP_PX} from {MIN_SIDE_PX} to {MAX_SIDE_PX}")
    return size


WorkSize = Annotated[Size, AfterValidator(_check_work_size)]
"""A size at which an image is denoised."""


def parse_sides(size: str) -> tuple[int, int]:
    """Width and height of a validated Size."""
    width, _, height = size.partition("x")
    return int(width), int(height)
