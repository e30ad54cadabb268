"""Parses search terms with a weight from the command line: `0.5:b.png`, `2:a red dress`."""

from __future__ import annotations

import os
import re

from indexd.errors import UsageError
from indexd_schemas.api.requests import MAX_WEIGHT

_WEIGHTED = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)):(.+)", re.DOTALL)
# A whole number before a colon and a digit is a ratio or a time: "16:9 wide shot", "12:30 at night".
_RATIO = re.compile(r"\d+:\d")


def parse_weighted_value(text: str, option: str, *, is_image: bool) -> tuple[float, str]:
    """The weight (default 1) and the rest. Raises UsageError unless 0 < weight <= MAX_WEIGHT.

    With `is_image` the text is the name of a file if such a file exists; otherwise a number before a colon is a weight.
    """
    match = _WEIGHTED.fullmatch(text)
    if match is None or (os.path.lexists(text) if is_image else _RATIO.match(text)):
        return 1.0, text
    weight = float(match[1])
    if not 0 < weight <= MAX_WEIGHT:
        raise UsageError(
            f"{option} {text!r}: a weight must be above 0 and at most {MAX_WEIGHT:g};"
            " for a negative term, use an option such as --not-similar or --unlike-prompt"
        )
    return weight, match[2]
