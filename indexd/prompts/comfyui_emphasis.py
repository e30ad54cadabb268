"""Parses ComfyUI's emphasis: a text to pieces with weights.

The rules are those of ComfyUI (comfy/sd1_clip.py): `(a)` is times 1.1, `(a:1.3)` is 1.3 whatever stands around it, `\\(` and
`\\)` are the signs themselves. Square brackets, AND and BREAK are text. An unclosed bracket is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from indexd.prompts.emphasis import ROUND_BRACKET_FACTOR, WeightedText

# Deeper brackets stay text: each level reads its text once more.
_MAX_DEPTH = 100
# ComfyUI's mark of an embedding; here its name alone stands for it.
_EMBEDDING_MARK = re.compile(r"(?:(?<=\s)|^)embedding:")
_ESCAPES = {"\\)": "\0\1", "\\(": "\0\2"}


def parse_comfyui_weights(prompt: str) -> list[WeightedText]:
    """The pieces of a prompt in their order, empty ones left out. ComfyUI cuts long prompts between pieces."""
    for sign, mark in _ESCAPES.items():
        prompt = prompt.replace(sign, mark)
    pieces = ((_EMBEDDING_MARK.sub("", _unescape(text)), weight) for text, weight in _pieces(prompt, 1.0, 0))
    return [WeightedText(text, weight) for text, weight in pieces if text]


def _pieces(text: str, weight: float, depth: int) -> Iterator[tuple[str, float]]:
    for part in _split_at_brackets(text):
        if len(part) < 2 or part[0] != "(" or part[-1] != ")" or depth == _MAX_DEPTH:
            yield part, weight
            continue
        inner, own_weight = part[1:-1], weight * ROUND_BRACKET_FACTOR
        words, colon, number = inner.rpartition(":")
        stated = _parse_weight(number) if words and colon else None
        if stated is not None:
            inner, own_weight = words, stated
        yield from _pieces(inner, own_weight, depth + 1)


def _parse_weight(text: str) -> float | None:
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if math.isfinite(weight) else None


def _split_at_brackets(text: str) -> list[str]:
    """Outermost brackets and what stands between them. A closing bracket too many makes the next opening one text."""
    parts: list[str] = []
    start, depth = 0, 0
    for place, sign in enumerate(text):
        if sign == "(":
            if depth == 0:
                parts.append(text[start:place])
                start = place
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[start : place + 1])
                start = place + 1
    return [part for part in (*parts, text[start:]) if part]


def _unescape(text: str) -> str:
    for sign, mark in _ESCAPES.items():
        text = text.replace(mark, sign[1:])
    return text
