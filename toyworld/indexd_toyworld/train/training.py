"""The frame of every training: a falling learning rate, averaged weights, and a saved state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from indexd_toyworld.train.training_parts import (
    HasState,
    TrainingBudget,
    TrainingCheckpoint,
    WeightAverage,
    cosine_schedule,
    remaining_steps,
    set_rate,
)

STATE = "state.pt"


class Training:
    """Trains `module` in `steps`; the caller passes a loss to `optimize` in each step.

    The optimizer's learning rate is the maximum of a cosine schedule. `folder` holds the state, and an existing state
    resumes.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        budget: TrainingBudget,
        folder: Path,
        average: WeightAverage | None = None,
        max_gradient_norm: float = 1.0,
    ) -> None:
        """Clip gradients to the norm `max_gradient_norm`."""
        self.budget = budget
        self.losses: dict[str, float] = {}
        self._name = name
        self._weights = [weight for weight in module.parameters() if weight.requires_grad]
        self._optimizer = optimizer
        self._rate: float = optimizer.param_groups[0]["lr"]
        self._average = average
        self._max_gradient_norm = max_gradient_norm
        parts: dict[str, HasState] = {"module": module, "optimizer": optimizer, "course": budget}
        if average is not None:
            parts["average"] = average
        self._checkpoint = TrainingCheckpoint(folder / STATE, parts)
        self._checkpoint.resume()

    def steps(self, at_save: Callable[[], None] | None = None) -> Iterator[int]:
        """Numbers of the remaining steps. Calls `at_save` after each save, the last included."""
        for step in remaining_steps(self.budget, self._name, self.losses):
            # Check before the step, so that each save happens once.
            if self._checkpoint.save_if_due() and at_save is not None:
                at_save()
            set_rate(self._optimizer, self._rate * cosine_schedule(self.budget.fraction))
            yield step
        self.save()
        if at_save is not None:
            at_save()

    def optimize(self, loss: Tensor) -> None:
        """One optimizer step on this loss."""
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, self._max_gradient_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update()

    def save(self) -> None:
        """Save the state now."""
        self._checkpoint.save()
