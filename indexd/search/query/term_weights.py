"""A term with its weight as it is written on the command line: `0.5:b.png`, `2:a red dress`."""

from __future__ import annotations

import os
import re

from indexd.errors import UsageError
from indexd_schemas.api.requests import MAX_WEIGHT

_WEIGHTED = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)):(.+)", re.DOTALL)
# A whole number before a colon and a digit is a ratio or a time: "16:9 wide shot", "12:30 at night".
_RATIO = re.compile(r"\d+:\d")


def parse_weighted_value(text: str, option: str, *, is_image: bool) -> tuple[float, str]:
    """The weight (1 where none is written) and the rest. Raises UsageError for a weight that is not above 0.

    `picture` = the rest names a picture: then a file with exactly this name goes first, and any number before a colon
    is a weight.
    """
    match = _WEIGHTED.fullmatch(text)
    if match is None or (os.path.lexists(text) if is_image else _RATIO.match(text)):
        return 1.0, text
    weight = float(match[1])
    if not 0 < weight <= MAX_WEIGHT:
        raise UsageError(
            f"{option} {text!r}: a weight is above 0 and at most {MAX_WEIGHT:g};"
            " what should push away goes behind an option such as --not-similar or --unlike-prompt"
        )
    return weight, match[2]
