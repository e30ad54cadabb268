"""Parses values of the filter language into canonical text."""

from __future__ import annotations

import calendar
import datetime
import math
import re

SEED_LIMIT = 2**64
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")
_SIZE = re.compile(r"(\d{1,6})[xX×*](\d{1,6})")
_TRUE = frozenset({"yes", "true", "1"})
_FALSE = frozenset({"no", "false", "0"})


class FilterValueError(ValueError):
    """An invalid value. The message continues a sentence that names the filter."""


def canonical_integer(text: str) -> str:
    """An integer, at least 0, as decimal text."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise FilterValueError(f"{text!r} is not a whole number")
    return str(int(text))


def canonical_seed(text: str) -> str:
    """A seed as decimal text, exact up to 2**64 - 1."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < SEED_LIMIT):
        raise FilterValueError(f"{text!r} is not a seed (0 to {SEED_LIMIT - 1})")
    return str(int(text))


def canonical_number(text: str) -> str:
    """A number as the shortest decimal text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FilterValueError(f"{text!r} is not a number")
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def canonical_yes_no(text: str) -> str:
    """Parse a yes/no value into `yes` or `no`."""
    plain = text.lower()
    if plain in _TRUE:
        return "yes"
    if plain in _FALSE:
        return "no"
    raise FilterValueError(f"{text!r} is neither yes nor no")


def parse_size(text: str) -> tuple[str, str]:
    """Width and height of a size such as `1024x768`."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise FilterValueError(f"{text!r} is not a size")
    return str(int(match[1])), str(int(match[2]))


def parse_date_range(text: str) -> tuple[str | None, str | None]:
    """First and last day (`YYYY-MM-DD`, inclusive, local time) of a year, a month, a day, or a range of those."""
    if ".." not in text:
        return _first_day(text), _last_day(text)
    low, _, high = text.partition("..")
    if not low and not high:
        raise FilterValueError("a range needs at least one end")
    first, last = (_first_day(low) if low else None), (_last_day(high) if high else None)
    if first is not None and last is not None and first > last:
        raise FilterValueError(f"the range is reversed, from {first} to {last}")
    return first, last


def _parse_date(text: str) -> tuple[int, int | None, int | None]:
    match = _DATE.fullmatch(text)
    if match is None:
        raise FilterValueError(f"{text!r} is not a date")
    year, month, day = match.groups()
    return int(year), int(month) if month else None, int(day) if day else None


def _first_day(text: str) -> str:
    year, month, day = _parse_date(text)
    return _iso_date(year, month or 1, day or 1, text)


def _last_day(text: str) -> str:
    year, month, day = _parse_date(text)
    month = month or 12
    if day is None and 1 <= month <= 12 and year > 0:
        day = calendar.monthrange(year, month)[1]
    return _iso_date(year, month, day or 1, text)


def _iso_date(year: int, month: int, day: int, text: str) -> str:
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError as error:
        raise FilterValueError(f"{text!r} is not a date ({error})") from None
