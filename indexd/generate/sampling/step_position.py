"""Where in a run of steps one evaluation of the model lies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepPosition:
    """The step of an evaluation, counted from 0, and how many steps texts are spread over.

    These are the steps that are taken, but in A1111's img2img those of the whole schedule, of which only some are taken.
    `time_share` is the share of the model's time steps above the present noise level: 0 at pure noise, 1 at clean latents.
    """

    step: int
    steps: int
    time_share: float = 0.0

    @property
    def fraction(self) -> float:
        """0 in the first step, below 1 in the last."""
        return self.step / self.steps
