"""The texts and weights of a prompt and a negative prompt at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexd.prompts.comfyui_emphasis import parse_comfyui_weights
from indexd.prompts.composition import ComposedPart, split_at_and
from indexd.prompts.emphasis import ChunkBreak, WeightedText, parse_weights
from indexd.prompts.prompt_schedule import PromptSchedule
from indexd_schemas.recipe import PromptSyntax


@dataclass(frozen=True, slots=True)
class StepPrompt:
    """The texts of one step with the weights of their guidance, and the negative text."""

    positive: tuple[ComposedPart, ...]
    negative: str


class PromptScript:
    """A prompt and a negative prompt as functions of the step. AND is understood in the prompt alone, as A1111 does."""

    def __init__(self, prompt: str, negative: str, syntax: PromptSyntax) -> None:
        composed = split_at_and(prompt) if syntax == "a1111" else [ComposedPart(prompt)]
        self._weights = [part.weight for part in composed]
        self._plain_prompts = None if syntax == "a1111" else (prompt, negative)
        self._schedules = [] if self._plain_prompts else [PromptSchedule(part.text) for part in composed]
        self._negative_schedule = PromptSchedule("" if self._plain_prompts else negative)
        self.varies_by_step = any(text.varies_by_step for text in (*self._schedules, self._negative_schedule))

    def at(self, step: int, steps: int) -> StepPrompt:
        """The texts at step `step` (counted from 1) of `steps`."""
        if self._plain_prompts:
            return StepPrompt((ComposedPart(self._plain_prompts[0]),), self._plain_prompts[1])
        positive = tuple(
            ComposedPart(text.at(step, steps), weight)
            for text, weight in zip(self._schedules, self._weights, strict=True)
        )
        return StepPrompt(positive, self._negative_schedule.at(step, steps))


def weighted_texts(text: str, syntax: PromptSyntax) -> Sequence[WeightedText | ChunkBreak]:
    """The weighted runs of one text; a plain one is one run as it stands."""
    if syntax == "plain":
        return [WeightedText(text)]
    return parse_weights(text) if syntax == "a1111" else parse_comfyui_weights(text)
