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


class Script:
    """A prompt and a negative prompt as functions of the step. AND is understood in the prompt alone, as A1111 does."""

    def __init__(self, prompt: str, negative: str, syntax: PromptSyntax) -> None:
        composed = [Part(prompt)] if syntax == "plain" else parts_of(prompt)
        self._weights = [part.weight for part in composed]
        self._plain = (prompt, negative) if syntax == "plain" else None
        self._texts = [] if self._plain else [Schedule(part.text) for part in composed]
        self._negative = Schedule("" if self._plain else negative)
        self.changes = any(text.changes for text in (*self._texts, self._negative))

    def at(self, step: int, steps: int) -> StepText:
        """What is said at step `step` (counted from 1) of `steps`."""
        if self._plain:
            return StepText((Part(self._plain[0]),), self._plain[1])
        positive = tuple(
            Part(text.at(step, steps), weight) for text, weight in zip(self._texts, self._weights, strict=True)
        )
        return StepText(positive, self._negative.at(step, steps))


def pieces(text: str, syntax: PromptSyntax) -> Sequence[Piece | Break]:
    """The weighted runs of one text; a plain one is one run as it stands."""
    return weighted(text) if syntax == "a1111" else [Piece(text)]
