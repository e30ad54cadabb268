"""What a group of the evaluation answers: figures, each with the bar it has to reach, and sample sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

OnEvaluationProgress = Callable[[str, int, int], None]
"""Told what is being done, how many parts of it are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured number. `least` and `most` are its bar, None where it is only told; `remark` says how or why."""

    name: str
    value: float
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    remark: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        if self.minimum is None and self.maximum is None:
            return None
        # Not `not (value < least)`: a figure that is no number has reached nothing.
        return (self.minimum is None or self.value >= self.minimum) and (
            self.maximum is None or self.value <= self.maximum
        )


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The figures of one group in the order they are shown, and its sheets: file name without `.png` → picture."""

    title: str
    metrics: tuple[Metric, ...]
    sheets: Mapping[str, Image.Image] = field(default_factory=dict)
