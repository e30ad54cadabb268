"""Output helpers: JSON documents, tables, progress on stderr, and formats of times and sizes."""

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
# Control characters (except line ends and tabs) can move a terminal's cursor, set its title or fill its clipboard. Bidi
# characters change the displayed order of text.
_CONTROL_CHARACTERS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for codes in (range(0x20), range(0x7F, 0xA0), range(0x202A, 0x202F), range(0x2066, 0x206A))
    for code in codes
    if chr(code) not in "\n\t"
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: BaseModel) -> None:
    """Print one indented document."""
    click.echo(document.model_dump_json(indent=2))


def sanitize_text(text: str) -> str:
    """Replaces terminal control characters in text from files."""
    return text.translate(_CONTROL_CHARACTERS)


def print_text(text: str, *, nl: bool = True) -> None:
    """Print a result for people on stdout. JSON, paths and other machine-readable output use click.echo directly."""
    click.echo(sanitize_text(text), nl=nl)


def print_notice(text: str) -> None:
    """Print a note to stderr."""
    click.echo(sanitize_text(text), err=True)


def console() -> Console:
    """A console on stdout; plain and unwrapped when stdout is not a terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else UNWRAPPED_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False)


def progress(*, counted: bool = True) -> Progress:
    """A progress display on stderr, only on a terminal; a context manager."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = Console(stderr=True)
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn()]
    more = [MofNCompleteColumn()] if counted else []
    return Progress(
        *columns, *more, TimeElapsedColumn(), console=screen, transient=True, disable=not screen.is_terminal
    )


def format_time(seconds: float | None) -> str:
    """Local time to the second."""
    if seconds is None:
        return "-"
    local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S")


def format_duration(seconds: float) -> str:
    """At most two units, such as `2 h 5 min`."""
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
    """The text in one line, truncated to `width` characters."""
    flat = " ".join((text or "").split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
