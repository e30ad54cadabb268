"""The errors of pydantic as sentences for people, without its words or Python objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

MAX_QUOTED_CHARACTERS = 60


def quote_value(value: object) -> str:
    """A value as it is quoted in a sentence: short, on one line."""
    if value is None:
        return "nothing"
    text = (
        repr(value)
        if isinstance(value, (str, int, float, bool))
        else "a list"
        if isinstance(value, list)
        else "a mapping"
    )
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}…"


_MESSAGES: Mapping[str, str] = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "list_type": "must be a list",
    "model_type": "must be a name or a mapping of `key: value`",
    "string_too_short": "must not be empty",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} {noun}",
    "tuple_type": "must be a list",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "string_pattern_mismatch": "does not have the expected form",
    "string_unicode": "must be valid Unicode",
    "too_long": "must have at most {max_length} {noun}",
}


def describe_error(error: Any) -> str:
    """What is wrong with a value, from an entry of pydantic's errors: `must be at most 2 (got 20)`."""
    kind, value = error["type"], error.get("input")
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not known here"
    if kind == "string_type":
        quotes = "; put it in quotes" if isinstance(value, (int, float)) else ""
        return f"must be text (got {quote_value(value)}){quotes}"
    if kind == "value_error":
        return f"{error['msg'].removeprefix('Value error, ')} (got {quote_value(value)})"
    limits = {key: _whole_as_int(limit) for key, limit in error.get("ctx", {}).items()}
    count = limits.get("min_length", limits.get("max_length"))
    sentence = _MESSAGES.get(kind, error["msg"]).format_map({**limits, "noun": "entry" if count == 1 else "entries"})
    return f"{sentence} (got {quote_value(value)})"


def _whole_as_int(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def describe_first_error(error: ValidationError) -> str:
    """The first wrong field with its place: `terms.0.kind: must be 'text' or 'face' (got 'smell')`."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {describe_error(first)}" if place else describe_error(first)
