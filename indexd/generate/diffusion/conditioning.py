"""Encoded texts of a run, which may change from step to step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from indexd.generate.sampling.step_position import StepPosition
from indexd.prompts.step_prompts import PromptScript, StepPrompt


@dataclass(frozen=True, slots=True)
class StepConditioning:
    """The texts at one step with their weights (several only for AND), in the form of the model's family.

    `negative` is None when the render is not guided.
    """

    positive: tuple[tuple[Any, float], ...]
    negative: Any | None


class TextConditioning:
    """The texts over a run. What a step needs is encoded when it is first used."""

    def __init__(self, script: PromptScript, encode: Callable[[StepPrompt], StepConditioning]) -> None:
        self._script = script
        self._encode = encode
        self._encoded_steps: dict[StepPrompt, StepConditioning] = {}

    def at_step(self, position: StepPosition) -> StepConditioning:
        """The texts of one step."""
        text = self._script.at(position.step + 1, position.steps)
        if text not in self._encoded_steps:
            self._encoded_steps[text] = self._encode(text)
        return self._encoded_steps[text]

    def encode_ahead(self, steps: int) -> None:
        """Encode all texts of a run of so many steps before it begins."""
        for step in range(steps if self._script.varies_by_step else 1):
            self.at_step(StepPosition(step, steps))
