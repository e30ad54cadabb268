"""`a AND b :0.5`: a prompt of several texts, each with its own guidance (Liu et al., arXiv 2206.01714).

A1111 splits at AND first, and reads a number at the end of each part as its weight. There that holds for a prompt without AND
too, so that "…, 16:9" is guided nine times as strongly; here a weight needs an AND.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r":\s*([+-]?(?:\d{1,12}\.?\d{0,12}|\.\d{1,12}))\s*$")


@dataclass(frozen=True, slots=True)
class ComposedPart:
    """One text of a composed prompt and the weight of its guidance."""

    text: str
    weight: float = 1.0


def split_at_and(prompt: str) -> list[ComposedPart]:
    """The texts that AND joins; one with weight 1 where there is no AND."""
    texts = _AND.split(prompt)
    return [ComposedPart(prompt)] if len(texts) == 1 else [_parse_part(text) for text in texts]


def _parse_part(text: str) -> ComposedPart:
    found = _WEIGHT.search(text)
    return ComposedPart(text) if found is None else ComposedPart(text[: found.start()].rstrip(), float(found[1]))
