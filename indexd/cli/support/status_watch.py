"""`indexd status --watch`: repeats the status until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from indexd.cli.support.printing import console, print_text
from indexd.cli.support.session import open_operations
from indexd.errors import IndexdError
from indexd.service.status_line import StatusSummary

if TYPE_CHECKING:
    from rich.console import RenderableType

    from indexd_schemas.api.output import DaemonStatus

SectionBuilder = Callable[["DaemonStatus"], Iterable["RenderableType"]]


def watch_status(build_sections: SectionBuilder, seconds: float, *, as_json: bool) -> None:
    """Show how everything stands every so many seconds. On a terminal a screen, else a line (or JSON document) each time.

    A daemon that goes away is waited for. Ends with Ctrl-C, which is no error.
    """
    screen = console()
    try:
        if as_json:
            _repeat(lambda: click.echo(_fetch_status().model_dump_json()), seconds)
        elif screen.is_terminal:
            _show_live(build_sections, seconds)
        else:
            _repeat(_print_line, seconds)
    except KeyboardInterrupt:
        return


def _fetch_status() -> DaemonStatus:
    from indexd.api.operations.status import status

    with open_operations() as operations:
        return operations.call(status)


def _repeat(show: Callable[[], object], seconds: float) -> None:
    while True:
        show()
        time.sleep(seconds)


def _print_line() -> None:
    stamp = time.strftime("%H:%M:%S")
    try:
        now = _fetch_status()
    except IndexdError as error:
        print_text(f"{stamp} {error}")
        return
    running = to_status_line(now).format_line() if now.running else "no daemon is running"
    print_text(f"{stamp} {now.images} images; {running}")


def _show_live(build_sections: SectionBuilder, seconds: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    def drawn() -> Group:
        try:
            body = list(build_sections(_fetch_status()))
        except IndexdError as error:
            body = [Text(str(error))]
        return Group(*body, Text(f"\n{time.strftime('%H:%M:%S')}, every {seconds:g} s; Ctrl-C ends this", "dim"))

    with Live(drawn(), console=console(), screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        _repeat(lambda: live.update(drawn(), refresh=True), seconds)


def to_status_line(now: DaemonStatus) -> StatusSummary:
    """The numbers of the service manager's status line, taken from the status."""
    return StatusSummary(
        folders=len(now.roots),
        offline=sum(not root.online for root in now.roots),
        scanning=sum(root.online and root.last_reconcile is None for root in now.roots),
        unread_files=sum(root.pending for root in now.roots),
        index_tasks=sum(states.get("pending", 0) + states.get("running", 0) for states in now.pending.values()),
        jobs=now.jobs,
        paused=now.queue_paused,
    )
