"""A prompt and a negative prompt -> what is said to the model at each step, in plain words and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexd.prompts.attention import Break, Piece, weighted
from indexd.prompts.compose import Part, parts_of
from indexd.prompts.schedule import Schedule
from indexd_schemas.recipe import PromptSyntax


@dataclass(frozen=True, slots=True)
class StepText:
    """What holds at one step: texts with the weights of their guidance, and what is to be avoided."""

    positive: tuple[Part, ...]
    negative: str


def plan(prompt: str, negative: str, steps: int, syntax: PromptSyntax) -> list[StepText]:
    """The texts of every step. AND is understood in the prompt alone, as A1111 does."""
    if syntax == "plain":
        return [StepText((Part(prompt),), negative)] * steps
    composed = parts_of(prompt)
    texts = [Schedule(part.text).over(steps) for part in composed]
    return [
        StepText(tuple(Part(text, part.weight) for text, part in zip(now, composed, strict=True)), avoided)
        for *now, avoided in zip(*texts, Schedule(negative).over(steps), strict=True)
    ]


def pieces(text: str, syntax: PromptSyntax) -> Sequence[Piece | Break]:
    """The weighted runs of one text; a plain one is one run as it stands."""
    return weighted(text) if syntax == "a1111" else [Piece(text)]
