"""Words that begin with a dash and are no options: `-tag:bad` in a question, `-draft` among tags."""

from __future__ import annotations

import re
from typing import Any

import click

# No command line can hold a NUL, so this mark is never part of a word.
_MARK = "\0"


class DashWords(click.Command):
    """A command whose arguments may begin with a dash. Left to itself, click would read the `h` of `-has:prompt` as -h."""

    dash_word: re.Pattern[str]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with the dash words kept away from the options."""
        marked = [_MARK + word if self.dash_word.fullmatch(word) else word for word in args]
        rest = super().parse_args(ctx, marked)
        ctx.params = {name: _unmarked(value) for name, value in ctx.params.items()}
        return rest


def dash_words(pattern: str) -> type[DashWords]:
    """A command class for which words of this pattern are arguments."""
    return type("DashWordsCommand", (DashWords,), {"dash_word": re.compile(pattern, re.DOTALL)})


def _unmarked(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_MARK)
    if isinstance(value, tuple):
        return tuple(_unmarked(one) for one in value)
    return value
