"""All output of the command line: text for people without control characters, exact JSON, tables, progress, formats.

Nothing else in `indexd.cli` writes to stdout or stderr (`tests/unit/cli/test_hostile_texts.py`): file names, prompts and tags
come from strangers, and must not command the terminal on which they are shown.
"""

from __future__ import annotations

import datetime
import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.progress import Progress
    from rich.table import Table

UNWRAPPED_WIDTH = 10_000
SHOW_PROGRESS_AFTER_SECONDS = 0.3
"""Most answers come sooner, and loading the library of the display takes as long as they do."""
# Control characters (except line ends and tabs) can move a terminal's cursor, set its title or fill its clipboard. Bidi
# characters change the displayed order of text.
_CONTROL_CHARACTERS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for codes in (range(0x20), range(0x7F, 0xA0), range(0x202A, 0x202F), range(0x2066, 0x206A))
    for code in codes
    if chr(code) not in "\n\t"
}
_CONTROL_CHARACTERS_AND_LINE_ENDS = _CONTROL_CHARACTERS | {
    ord(sign): "\N{REPLACEMENT CHARACTER}" for sign in "\n\t\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}"
}
# JSON escapes what is below U+0020 itself. The others stand in strings only, where an escape means the same.
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in _CONTROL_CHARACTERS if code >= 0x7F}

_STATE_LABELS = {"ok": "OK     ", "warning": "WARNING", "failed": "FAILED "}
_STATE_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
DoctorState = Literal["ok", "warning", "failed"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: BaseModel, *, indent: int | None = 2) -> None:
    """Print one document; without `indent` in one line."""
    print_json_text(document.model_dump_json(indent=indent))


def print_json_text(text: str) -> None:
    """Print a JSON document. Characters that command a terminal are escaped, so that it stays exact."""
    click.echo(escape_json(text))


def escape_json(text: str) -> str:
    """A JSON text whose strings contain no character that commands a terminal; it stays exact."""
    return text.translate(_JSON_ESCAPES)


def sanitize_text(text: str) -> str:
    """Replaces terminal control characters in text from files; line ends and tabs stay."""
    return text.translate(_CONTROL_CHARACTERS)


def sanitize_line(text: str) -> str:
    """Like `sanitize_text`, but line ends are replaced too: a name must not look like another line."""
    return text.translate(_CONTROL_CHARACTERS_AND_LINE_ENDS)


def print_text(line: str) -> None:
    """Print one line of a result for people on stdout."""
    click.echo(sanitize_line(line))


def print_field(name: str, value: object, *, width: int = 16) -> None:
    """Print a name, aligned to the right, and its value. Further lines of the value are indented like the first."""
    click.echo(f"{sanitize_line(name)[:width]:>{width}}  {_indented(str(value), width + 2)}")


def _indented(text: str, width: int) -> str:
    """The text with its second and later lines indented, so that none of them looks like a line of the output."""
    return f"\n{'':{width}}".join(sanitize_text(text).splitlines())


def print_block(text: str) -> None:
    """Print a text of several lines for people, as it is but for control characters."""
    click.echo(sanitize_text(text), nl=not text.endswith("\n"))


def print_data(text: str) -> None:
    """Print machine-readable output (metrics, settings): exact in a pipe or a file, clean on a terminal."""
    click.echo(sanitize_text(text) if sys.stdout.isatty() else text, nl=not text.endswith("\n"))


def print_notice(text: str) -> None:
    """Print a note or an error to stderr. Its further lines (one problem a line) are indented."""
    click.echo(_indented(text, 2), err=True)


def print_check(state: DoctorState, name: str, detail: str, advice: str | None) -> None:
    """Print the state of one check with its colour, and in a second line what to do."""
    click.echo(f"{click.style(_STATE_LABELS[state], fg=_STATE_COLOURS[state])}  {_indented(f'{name}: {detail}', 9)}")
    if advice:
        click.echo(f"         → {_indented(advice, 11)}")


def print_paths(paths: Iterable[bytes], end: str) -> None:
    """Print paths byte for byte, each followed by `end`; on a terminal without control characters, unless `end` is NUL."""
    sys.stdout.flush()
    for path in paths:
        if end == "\n" and sys.stdout.isatty():
            path = sanitize_line(path.decode("utf-8", "replace")).encode()
        sys.stdout.buffer.write(path + end.encode())
    sys.stdout.flush()


def print_click_error(error: click.ClickException) -> None:
    """Print what click has to say of a wrong command line to stderr."""
    text = io.StringIO()
    error.show(file=text)
    message = error.format_message()
    click.echo(sanitize_text(text.getvalue().replace(message, sanitize_line(message))), nl=False, err=True)


def console() -> Console:
    """A console on stdout; plain and unwrapped when stdout is not a terminal."""
    width = None if sys.stdout.isatty() else UNWRAPPED_WIDTH
    return _clean_console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False)


def _clean_console(**options: Any) -> Console:
    """A console that replaces control characters in what it is given."""
    from rich.console import Console
    from rich.segment import Segment

    class CleanConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(sanitize_text(segment.text), segment.style)

    return CleanConsole(**options)


def add_row(table: Table, *cells: str) -> None:
    """Add a row to a table; each cell is one line."""
    table.add_row(*map(sanitize_line, cells))


def progress(*, counted: bool = True) -> Progress:
    """A progress display on stderr, only on a terminal; a context manager."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = _clean_console(stderr=True)
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn()]
    more = [MofNCompleteColumn()] if counted else []
    return Progress(
        *columns, *more, TimeElapsedColumn(), console=screen, transient=True, disable=not screen.is_terminal
    )


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """A progress display on stderr for a call that takes longer than a moment, only on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    is_done, lock = False, threading.Lock()
    bar: Progress | None = None

    def show() -> None:
        nonlocal bar
        with lock:
            if not is_done:
                bar = progress(counted=False)
                bar.add_task(description, total=None)
                bar.start()

    timer = threading.Timer(SHOW_PROGRESS_AFTER_SECONDS, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            is_done = True
            if bar is not None:
                bar.stop()


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
