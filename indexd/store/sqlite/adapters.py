"""Converts values between Python and SQLite. Metadata is untrusted: one odd value must not fail a whole batch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import overload

import numpy as np

from indexd.fs.paths import display
from indexd.name_key import composed

_INT64_LIMIT = 2**63


@overload
def utf8_text(text: str) -> str: ...
@overload
def utf8_text(text: None) -> None: ...
def utf8_text(text: str | None) -> str | None:
    """The text with lone surrogates, which no UTF-8 can hold, replaced by `?`."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def int64_or_none(value: int | None) -> int | None:
    """The integer, or None where it does not fit in 64 bits."""
    return value if value is not None and -_INT64_LIMIT <= value < _INT64_LIMIT else None


def finite_or_none(value: float | None) -> float | None:
    """The number, or None where it is not finite."""
    try:
        return float(value) if value is not None and math.isfinite(value) else None
    except OverflowError:
        return None


def canonical_seed(text: str | None) -> str | None:
    """A decimal seed without leading zeros, so that equal seeds are equal text and longer means greater; else as it is."""
    if text is None:
        return None
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit():
        return stripped.lstrip("0") or "0"
    return utf8_text(text)


def to_signed64(value: int) -> int:
    """An unsigned 64-bit number (inodes of some file systems) as the signed one with the same bits."""
    return value - (1 << 64) if value >= _INT64_LIMIT else value


def to_unsigned64(value: int) -> int:
    """The inverse of `to_signed64`."""
    return value + (1 << 64) if value < 0 else value


MAX_RETRY_DELAY_SECONDS = 3600.0
"""No attempt is put off for longer. What lies further ahead was written before the clock was set back, and is due."""


AMONG = "(SELECT value FROM json_each(?))"
"""The set in SQL whose bound value `ids_json` makes: `image_id IN {AMONG}`."""


def ids_json(ids: Iterable[int]) -> str:
    """Ids as the JSON list that `json_each` takes: any number of them in one bound value."""
    array = getattr(ids, "array", ids)
    return json.dumps(array.tolist() if isinstance(array, np.ndarray) else [int(one) for one in ids])


def searchable_path(rel: bytes) -> str:
    """A path as the filter `path:` and the full text find it: text in composed Unicode form."""
    return composed(display(rel))
