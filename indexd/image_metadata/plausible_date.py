"""Which dates can be those at which an image was made."""

from __future__ import annotations

from datetime import UTC, datetime

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
"""An earlier date comes from an unset clock or an empty field: no program made images of this kind before."""

FUTURE_SECONDS_MAX = 86_400.0
"""How far ahead of the clock a stated date may lie; clocks and time zones of two machines differ by hours."""


def is_plausible_date(seconds: float, now: float) -> bool:
    """Whether an image may have been made at this time. Both are in seconds since the epoch."""
    return EARLIEST <= seconds <= now + FUTURE_SECONDS_MAX


def creation_from_file_time(file_time: float, first_seen: float) -> float:
    """The file time where it is plausible, else the time at which the file was first seen.

    A clock that stands before `EARLIEST` was never set; then the file time is the better of the two.
    """
    return file_time if first_seen < EARLIEST or is_plausible_date(file_time, first_seen) else first_seen
