"""The frame of every training: steps at a rate that falls, an average of the weights, and a state that is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from indexd_toyworld.train.common import Average, Course, HasState, Keeper, cosine, rounds, set_rate

STATE = "state.pt"


class Training:
    """Teaches `module` in `steps`, by a loss that is given to `learn` in each of them.

    The optimizer's learning rate is the highest of a cosine. The state lies in `folder`; what lies there already is
    taken up, so that a run that was stopped goes on. `told` is shown on the screen.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        course: Course,
        folder: Path,
        average: Average | None = None,
        longest_gradient: float = 1.0,
    ) -> None:
        """Gradients whose norm over all weights is longer than `longest_gradient` are shortened to that."""
        self.course = course
        self.told: dict[str, float] = {}
        self._name = name
        self._weights = [weight for weight in module.parameters() if weight.requires_grad]
        self._optimizer = optimizer
        self._rate: float = optimizer.param_groups[0]["lr"]
        self._average = average
        self._longest_gradient = longest_gradient
        parts: dict[str, HasState] = {"module": module, "optimizer": optimizer, "course": course}
        if average is not None:
            parts["average"] = average
        self._keeper = Keeper(folder / STATE, parts)
        self._keeper.resume()

    def steps(self, at_save: Callable[[], None] | None = None) -> Iterator[int]:
        """The numbers of the steps that are left. `at_save` is called whenever the state was kept, at the end too."""
        for step in rounds(self.course, self._name, self.told):
            # Before the step and not after it, so that it is made once.
            if self._keeper.save_if_due() and at_save is not None:
                at_save()
            set_rate(self._optimizer, self._rate * cosine(self.course.fraction))
            yield step
        self.save()
        if at_save is not None:
            at_save()

    def learn(self, loss: Tensor) -> None:
        """One step down this loss."""
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, self._longest_gradient)
        self._optimizer.step()
        if self._average is not None:
            self._average.update()

    def save(self) -> None:
        """Keep the state now."""
        self._keeper.save()
