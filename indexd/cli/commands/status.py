"""`indexd status`: shows the status of daemon and index on one screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from indexd.cli.support.number_types import Number
from indexd.cli.support.printing import (
    add_row,
    console,
    format_bytes,
    format_duration,
    format_time,
    json_option,
    print_json,
    print_text,
    sanitize_line,
)
from indexd.cli.support.session import open_operations
from indexd.errors import IndexdError
from indexd.service.status_line import StatusSummary

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from indexd_schemas.api.output import DaemonStatus


EVENTS_SHOWN = 8


@click.command(short_help="Show daemon status.")
@json_option
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Repeat until Ctrl-C; without a terminal one line each time.",
)
@click.option(
    "--every",
    "seconds",
    type=Number(0.2, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between updates with --watch.",
)
def status(as_json: bool, watch: bool, seconds: float) -> None:
    """Show folders, index tasks, jobs, workers, models and recent events."""
    if watch:
        watch_status(_sections, seconds, as_json=as_json)
        return
    from indexd.api.operations import status as operations_module

    with open_operations() as operations:
        now = operations.call(operations_module.status)
    if as_json:
        print_json(now)
        return
    screen = console()
    for part in _sections(now):
        screen.print(part)


def _sections(now: DaemonStatus) -> Iterable[RenderableType]:
    uptime = format_duration(now.uptime_seconds or 0)
    state = (
        f" runs as process {now.pid} for {uptime}"
        if now.running
        else ": no daemon is running (start it with `indexd run`)"
    )
    yield sanitize_line(f"indexd {now.version}{state}")
    yield sanitize_line(
        f"{now.images} images in {now.files} files, {now.missing_files} missing; "
        f"index {now.index} ({format_bytes(now.index_bytes)})"
    )
    yield from _section("folders", _roots(now))
    yield from _section("pending", _pending(now))
    yield from _section("jobs", _jobs(now))
    yield from _section("workers", _workers(now))
    yield from _section("models", _roles(now))
    yield from _section("noticed", _events(now))


def _section(title: str, table: Table) -> Iterable[RenderableType]:
    if table.row_count:
        yield f"\n{title}"
        yield table


def _table(columns: int) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2), pad_edge=True)
    for _ in range(columns):
        table.add_column(overflow="fold")
    return table


def _roots(now: DaemonStatus) -> Table:
    table = _table(4)
    for root in now.roots:
        state = root.mode if root.online else "offline"
        parts = [root.reason] if root.reason else []
        if root.pending:
            parts.append(f"{root.pending} files settling")
        if root.lost_events:
            parts.append(f"{root.lost_events} events lost, found by scanning")
        if root.last_reconcile is not None:
            parts.append(f"compared {format_time(root.last_reconcile)}")
        add_row(table, root.path, "job files" if root.purpose == "jobs" else "images", state, "; ".join(parts))
    return table


def _pending(now: DaemonStatus) -> Table:
    table = _table(2)
    off = {role.role for role in now.roles if not role.on}
    for stage, states in sorted(now.pending.items()):
        words = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if count)
        role = "bge" if stage.startswith("bge") else stage
        if words:
            add_row(table, stage, f"{words} ({role} is off)" if role in off else words)
    return table


def _jobs(now: DaemonStatus) -> Table:
    table = _table(2)
    for state, count in now.jobs.items():
        if count:
            add_row(table, state, str(count))
    if now.queue_paused:
        add_row(table, "the queue is paused", now.queue_paused)
    for text in now.unread_job_files:
        add_row(table, "not read", text)
    return table


def _workers(now: DaemonStatus) -> Table:
    table = _table(3)
    for worker in now.workers:
        state = f"process {worker.pid}" if worker.alive else "away (comes when it is needed)"
        models = [f"{role} (unused for {format_duration(seconds)})" for role, seconds in worker.models.items()]
        counts = [
            f"{number} {what}" for number, what in ((worker.running, "running"), (worker.queued, "waiting")) if number
        ]
        deaths = [f"{worker.deaths} deaths"] if worker.deaths else []
        add_row(table, worker.lane, state, "; ".join([*models, *counts, *deaths]))
    return table


def _roles(now: DaemonStatus) -> Table:
    table = _table(2)
    for role in now.roles:
        add_row(table, role.role, role.detail if role.on else f"off, because {role.detail}")
    return table


def _events(now: DaemonStatus) -> Table:
    table = _table(3)
    for event in now.events[:EVENTS_SHOWN]:
        add_row(table, format_time(event.at), event.kind, event.text)
    return table


SectionBuilder = Callable[["DaemonStatus"], Iterable["RenderableType"]]


def watch_status(build_sections: SectionBuilder, seconds: float, *, as_json: bool) -> None:
    """Show the status every so many seconds. On a terminal a screen, else a line (or JSON document) each time.

    A daemon that goes away is waited for. Ends with Ctrl-C, which is no error.
    """
    screen = console()
    try:
        if as_json:
            _repeat(lambda: print_json(_fetch_status(), indent=None), seconds)
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
