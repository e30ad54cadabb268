"""Errors of templates, with the place of the mistake and of every use that led there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class SourcePlace(NamedTuple):
    """A place in a text: its name, line and column, both counted from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A text that contains template syntax. `name` and `first_line` say where it stands."""

    name: str
    text: str
    first_line: int = 1

    def place(self, offset: int) -> SourcePlace:
        """The place of the character at `offset`."""
        line = self.text.count("\n", 0, offset)
        return SourcePlace(self.name, self.first_line + line, offset - self.text.rfind("\n", 0, offset))


class TemplateError(Exception):
    """A template that cannot be used. `places` begins with the mistake; each further place uses the one before."""

    def __init__(self, message: str, places: Iterable[SourcePlace]) -> None:
        self.message = message
        self.places = tuple(places)
        chain = ", ".join(f"used at {place}" for place in self.places[1:])
        super().__init__(f"{self.places[0]}: {message}{chain and f' ({chain})'}" if self.places else message)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name most like `name` as the end of a sentence; "" where none is like it."""
    folded = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(name.casefold()[:100], folded, n=1, cutoff=0.55)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""
