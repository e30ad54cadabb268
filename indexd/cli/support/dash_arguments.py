"""Words that begin with a dash and are no options: `-tag:bad` in a question, `-draft` among tags."""

from __future__ import annotations

import re
from typing import Any

import click

# No command line can hold a NUL, so this mark is never part of a word.
_ESCAPE = "\0"


class DashArgumentCommand(click.Command):
    """A command whose arguments may begin with a dash. Left to itself, click would read the `h` of `-has:prompt` as -h."""

    dash_word: re.Pattern[str]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with the dash words kept away from the options."""
        marked = [_ESCAPE + word if self.dash_word.fullmatch(word) else word for word in args]
        rest = super().parse_args(ctx, marked)
        ctx.params = {name: _unescape(value) for name, value in ctx.params.items()}
        return rest


def dash_argument_command(pattern: str) -> type[DashArgumentCommand]:
    """A command class for which words of this pattern are arguments."""
    return type("DashWordsCommand", (DashArgumentCommand,), {"dash_word": re.compile(pattern, re.DOTALL)})


def _unescape(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_ESCAPE)
    if isinstance(value, tuple):
        return tuple(_unescape(one) for one in value)
    return value
