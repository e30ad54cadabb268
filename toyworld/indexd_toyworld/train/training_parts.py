"""Parts of a training: budget, learning rate, saved state, averaged weights, progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

SAVE_SECONDS = 120.0


class HasState(Protocol):
    """Common protocol of torch modules, optimizers and generators."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


class TrainingBudget:
    """Progress of a training by steps or by time, counting earlier runs.

    `minutes` None = `steps` steps; else as many steps as fit into the minutes.
    """

    def __init__(self, steps: int, minutes: float | None) -> None:
        self.done = 0
        self._steps = steps
        self._limit_seconds = None if minutes is None else minutes * 60
        self._used_seconds = 0.0
        self._began = time.monotonic()

    def begin(self) -> None:
        """Start the clock; excludes preparation."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Training seconds of all runs together."""
        return self._used_seconds + time.monotonic() - self._began

    @property
    def fraction(self) -> float:
        """0 at the start, 1 at the end."""
        whole = self.done / self._steps if self._limit_seconds is None else self.seconds / self._limit_seconds
        return min(whole, 1.0)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.done, self._used_seconds, self._began = int(state["done"]), float(state["seconds"]), time.monotonic()


class WeightAverage:
    """Running mean of a module's weights, which is what training keeps; recent weights count more at first."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module = module
        self._decay = decay
        self._steps = 0
        self.weights = {name: weight.detach().clone() for name, weight in module.state_dict().items()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self) -> None:
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, weight in self._module.state_dict().items():
            if weight.is_floating_point():
                self.weights[name].lerp_(weight, 1 - decay)
            else:  # integer counters of BatchNorm
                self.weights[name].copy_(weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module with averaged weights inside the block."""
        own = {name: weight.detach().clone() for name, weight in self._module.state_dict().items()}
        self._module.load_state_dict(self.weights)
        try:
            yield
        finally:
            self._module.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._steps = int(state["steps"])
        self.weights = {name: state["weights"][name].to(own.device) for name, own in self.weights.items()}


class TrainingCheckpoint:
    """Saves the state to one file every two minutes and at the end; an interrupted run resumes from it."""

    def __init__(self, file: Path, parts: Mapping[str, HasState]) -> None:
        self._file = file
        self._parts = parts
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Load the saved state, if there is one."""
        if not self._file.exists():
            return
        held = torch.load(self._file, weights_only=True, map_location="cpu")
        for name, part in self._parts.items():
            part.load_state_dict(held[name])

    def save_if_due(self) -> bool:
        """Save after two minutes. Returns whether it saved."""
        if time.monotonic() - self._saved < SAVE_SECONDS:
            return False
        self.save()
        return True

    def save(self) -> None:
        """Write a complete new file, then replace the old one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        whole = self._file.with_suffix(".new")
        torch.save({name: part.state_dict() for name, part in self._parts.items()}, whole)
        whole.replace(self._file)
        self._saved = time.monotonic()


def cosine_schedule(fraction: float, warm: float = 0.02, last: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up over `warm`, then a half cosine down to `last`."""
    if fraction < warm:
        return max(fraction / warm, 0.02)
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * (fraction - warm) / (1 - warm)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the same learning rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def remaining_steps(budget: TrainingBudget, name: str, losses: Mapping[str, float]) -> Iterator[int]:
    """Numbers of the remaining steps, with a progress bar that shows the latest `losses`.

    Without a terminal it prints a line every thousandth of the steps.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    shown = -1
    budget.begin()
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=1.0)
        while budget.fraction < 1.0:
            yield budget.done
            budget.done += 1
            text = f"{name}: " + ", ".join(f"{what} {value:.4g}" for what, value in losses.items())
            bar.update(task, completed=budget.fraction, description=text)
            if not console.is_terminal and int(budget.fraction * 250) > shown:
                shown = int(budget.fraction * 250)
                console.print(f"{text}; step {budget.done}, {budget.seconds / 60:.1f} min, {budget.fraction:.1%}")


def update_running_mean(losses: dict[str, float], name: str, value: Tensor, share: float = 0.02) -> None:
    """Running mean of a loss for display."""
    losses[name] = float(value.detach()) * share + losses.get(name, float(value.detach())) * (1 - share)


def training_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
