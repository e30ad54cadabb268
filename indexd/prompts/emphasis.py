"""Parses A1111's emphasis: a text to pieces with weights, and the places of BREAK.

The rules are those of A1111 (modules/prompt_parser.py, parse_prompt_attention, and the wiki page "Features"): `(a)` is
times 1.1, `[a]` divided by 1.1, `(a:1.3)` times 1.3, brackets multiply; `\\(` and its like are the sign itself. A
closing bracket without an opening one is text; an opening one that is never closed holds to the end. Unlike there, BREAK
inside brackets is a break too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

ROUND_BRACKET_FACTOR = 1.1
SQUARE_BRACKET_FACTOR = 1 / 1.1

_TOKEN = re.compile(
    r"""
    \\(?P<escaped>[()\[\]\\])
  | :\s*(?P<weight>[+-]?(?:\d{1,12}\.?\d{0,12}|\.\d{1,12}))\s*\)
  | (?P<sign>[()\[\]])
  | (?P<lone>\\|:)
  | (?P<text>[^\\()\[\]:]+)
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True, slots=True)
class WeightedText:
    """A run of text under one weight."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ChunkBreak:
    """A new chunk of 75 tokens begins here."""


def parse_weights(prompt: str) -> list[WeightedText | ChunkBreak]:
    """The pieces of a prompt in their order; neighbours of the same weight are one piece, empty ones are left out.

    Brackets cost no recursion; ten thousand of them, nested, take some ten milliseconds.
    """
    texts, ranges = _scan(prompt)
    weights = np.ones(len(texts))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # Innermost first, as the brackets close: the order decides the last digit.
        for start, end, factor in ranges:
            weights[start:end] *= factor
    return _merge_equal_weights(texts, weights.tolist())


def largest_weight(prompt: str) -> float:
    """The weight farthest from 0 in the prompt, without sign; 1 where nothing is weighted up."""
    return max((abs(piece.weight) for piece in parse_weights(prompt) if isinstance(piece, WeightedText)), default=1.0)


def _scan(prompt: str) -> tuple[list[str | None], list[tuple[int, int, float]]]:
    """The texts between brackets (None = BREAK), and for each pair of brackets which of them it holds and its factor."""
    texts: list[str | None] = []
    ranges: list[tuple[int, int, float]] = []
    waiting: dict[str, list[int]] = {"(": [], "[": []}

    for token in _TOKEN.finditer(prompt):
        sign = token["sign"]
        if token["escaped"]:
            texts.append(token["escaped"])
        elif token["weight"] and waiting["("]:
            ranges.append((waiting["("].pop(), len(texts), float(token["weight"])))
        elif sign in ("(", "["):
            waiting[sign].append(len(texts))
        elif sign == ")" and waiting["("]:
            ranges.append((waiting["("].pop(), len(texts), ROUND_BRACKET_FACTOR))
        elif sign == "]" and waiting["["]:
            ranges.append((waiting["["].pop(), len(texts), SQUARE_BRACKET_FACTOR))
        elif token[0] != "\\":
            texts.extend(_split_at_breaks(token[0]))
    ranges += [(start, len(texts), ROUND_BRACKET_FACTOR) for start in waiting["("]]
    ranges += [(start, len(texts), SQUARE_BRACKET_FACTOR) for start in waiting["["]]
    return texts, ranges


def _split_at_breaks(text: str) -> list[str | None]:
    first, *others = _BREAK.split(text)
    found: list[str | None] = [first]
    for other in others:
        found += [None, other]
    return found


def _merge_equal_weights(texts: list[str | None], weights: list[float]) -> list[WeightedText | ChunkBreak]:
    found: list[WeightedText | ChunkBreak] = []
    run: list[str] = []
    run_weight = 1.0

    def flush() -> None:
        if run:
            found.append(WeightedText("".join(run), run_weight))
        run.clear()

    for text, weight in zip(texts, weights, strict=True):
        if text is None:
            flush()
            found.append(ChunkBreak())
        elif text:
            if weight != run_weight:
                flush()
                run_weight = weight
            run.append(text)
    flush()
    return found
