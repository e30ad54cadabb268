"""Arguments that begin with a dash: `-tag:bad` in a query, `-draft` among tags."""

from __future__ import annotations

import re
from typing import Any

import click

# A command line cannot contain NUL, so this marker never occurs in an argument.
_ESCAPE = "\0"


class DashArgumentCommand(click.Command):
    """A command whose arguments may begin with a dash. click alone would read the `h` of `-has:prompt` as -h."""

    dash_word: re.Pattern[str]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Like click, but hides dash arguments from the option parser."""
        marked = [_ESCAPE + word if self.dash_word.fullmatch(word) else word for word in args]
        rest = super().parse_args(ctx, marked)
        ctx.params = {name: _unescape(value) for name, value in ctx.params.items()}
        return rest


def dash_argument_command(pattern: str) -> type[DashArgumentCommand]:
    """A command class that treats words matching this pattern as arguments."""
    return type("DashWordsCommand", (DashArgumentCommand,), {"dash_word": re.compile(pattern, re.DOTALL)})


def _unescape(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_ESCAPE)
    if isinstance(value, tuple):
        return tuple(_unescape(one) for one in value)
    return value
