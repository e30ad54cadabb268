"""How results are printed: documents as JSON, tables for people, progress on stderr, times and sizes in words."""

from __future__ import annotations

import datetime
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.progress import Progress

UNWRAPPED_WIDTH = 10_000
# Control characters (line ends and tabs aside) move a terminal's cursor, set its title, fill its clipboard; the signs of
# writing direction show text in another order than it has.
_CONTROL_CHARACTERS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for codes in (range(0x20), range(0x7F, 0xA0), range(0x202A, 0x202F), range(0x2066, 0x206A))
    for code in codes
    if chr(code) not in "\n\t"
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: BaseModel) -> None:
    """One document, indented."""
    click.echo(document.model_dump_json(indent=2))


def sanitize_text(text: str) -> str:
    """Text that came with a file, fit for a terminal: what would command it is shown as a replacement character."""
    return text.translate(_CONTROL_CHARACTERS)


def print_text(text: str, *, nl: bool = True) -> None:
    """A result for people, on stdout. JSON, paths and what else programs read go through click.echo, unchanged."""
    click.echo(sanitize_text(text), nl=nl)


def print_notice(text: str) -> None:
    """Something worth knowing that is no result."""
    click.echo(sanitize_text(text), err=True)


def console() -> Console:
    """A console on stdout; plain and never wrapped where stdout is no terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else UNWRAPPED_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False)


def progress(*, counted: bool = True) -> Progress:
    """A progress display on stderr, drawn on a terminal only; use as a context manager."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = Console(stderr=True)
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn()]
    more = [MofNCompleteColumn()] if counted else []
    return Progress(
        *columns, *more, TimeElapsedColumn(), console=screen, transient=True, disable=not screen.is_terminal
    )


def format_time(seconds: float | None) -> str:
    """A time in local words, to the second."""
    if seconds is None:
        return "-"
    local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S")


def format_duration(seconds: float) -> str:
    """A duration in words, two units at most."""
    left = int(seconds)
    if left < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{left} s"
    parts = []
    for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
    return " ".join(parts[:2])


def format_bytes(size: int) -> str:
    """A size in words."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def one_line(text: str | None, width: int = 72) -> str:
    """The text in one line, cut at `width` characters."""
    flat = " ".join((text or "").split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
