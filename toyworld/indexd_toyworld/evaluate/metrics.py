"""Results of an evaluation group: figures with their bars, and sample sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

OnEvaluationProgress = Callable[[str, int, int], None]
"""Receives the current step, the number of finished parts and their total."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure. `minimum` and `maximum` are its bar (None = no bar); `remark` says how it was measured."""

    name: str
    value: float
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    remark: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        if self.minimum is None and self.maximum is None:
            return None
        # Not `not (value < minimum)`: NaN meets no bar.
        return (self.minimum is None or self.value >= self.minimum) and (
            self.maximum is None or self.value <= self.maximum
        )


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The figures of one group in display order, and its sheets: file name without `.png` → image."""

    title: str
    metrics: tuple[Metric, ...]
    sheets: Mapping[str, Image.Image] = field(default_factory=dict)
