"""Durations such as `5m`, `30s`, `1h30m`, `0`, `never`, and times of day such as `03:30`, `never`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> float | None:
    """Seconds, or None for `never`. Raises ValueError with the valid forms."""
    plain = text.strip().lower()
    if plain == "never":
        return None
    if plain == "0":
        return 0.0
    parts = _PART.findall(plain)
    if not parts or _PART.sub("", plain).strip():
        raise ValueError(f"{text!r} is not a duration; write 30s, 5m, 1h30m, 0 or never")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _validate_duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[str, AfterValidator(_validate_duration)]


_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def parse_time_of_day(text: str) -> tuple[int, int] | None:
    """Hour and minute, or None for `never`. Raises ValueError with the valid forms."""
    plain = text.strip().lower()
    if plain == "never":
        return None
    match = _TIME.fullmatch(plain)
    if match is None:
        raise ValueError(f"{text!r} is no time of day; write 03:30 or never")
    return int(match[1]), int(match[2])


def _validate_time(text: str) -> str:
    parse_time_of_day(text)
    return text


TimeOfDay = Annotated[str, AfterValidator(_validate_time)]
