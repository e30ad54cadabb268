"""What a group of the evaluation answers: figures, each with the bar it has to reach, and sample sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many parts of it are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `least` and `most` are its bar, None where it is only told; `remark` says how or why."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    unit: str = ""
    remark: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        if self.least is None and self.most is None:
            return None
        # Not `not (value < least)`: a figure that is no number has reached nothing.
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one group in the order they are shown, and its sheets: file name without `.png` → picture."""

    title: str
    figures: tuple[Figure, ...]
    sheets: Mapping[str, Image.Image] = field(default_factory=dict)
