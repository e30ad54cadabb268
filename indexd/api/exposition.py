"""Prometheus' text format, version 0.0.4; see "Exposition formats" in the documentation of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NO_LABELS: Mapping[str, str] = {}


class PrometheusWriter:
    """Collects families of samples; a family is described once and its samples follow it."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: Literal["gauge", "counter", "summary"], text: str) -> None:
        """Begin a family. `name` has the base unit last, and of a counter `_total`."""
        self._lines += [f"# HELP {name} {_escape_help(text)}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, value: float, labels: Mapping[str, str] = _NO_LABELS) -> None:
        """One value of the family begun last."""
        pairs = ",".join(f'{key}="{_escape_label(label)}"' for key, label in labels.items())
        self._lines.append(f"{name}{{{pairs}}} {_format_number(value)}" if pairs else f"{name} {_format_number(value)}")

    def text(self) -> str:
        """The whole, with the line end that the format asks for."""
        return "\n".join(self._lines) + "\n"


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_label(text: str) -> str:
    return _escape_help(text).replace('"', '\\"')


def _format_number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
