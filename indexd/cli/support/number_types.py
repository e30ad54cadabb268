"""Types of command-line numbers whose errors name the allowed values."""

from __future__ import annotations

from typing import Any

import click


def _describe(kind: str, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        limit = (
            "" if low is None and high is None else f" of at least {low}" if low is not None else f" of at most {high}"
        )
        return f"a {kind}{limit}"
    return f"a {kind} from {low} to {high}"


class WholeNumber(click.IntRange):
    """A whole number within closed limits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Fails with the limits."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"write {_describe('whole number', self.min, self.max)} (got {value})", param, ctx)


class Number(click.FloatRange):
    """A number within closed limits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Fails with the limits."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"write {_describe('number', self.min, self.max)} (got {value})", param, ctx)
