"""`indexd service`: installs and controls the service that runs the daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.printing import json_option, print_block, print_json, print_notice, print_text
from indexd.cli.support.session import home_folder
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK

if TYPE_CHECKING:
    from indexd.service.manager_detection import DetectedService

Command = Callable[..., Any]


def scope_options(command: Command) -> Command:
    """Options of every sub-command that select the service."""
    for option in (
        click.option(
            "--run-as", "user", metavar="USER", help="With --system: the user that runs the daemon (default: you)."
        ),
        click.option("--task", "scope", flag_value="task", help="Windows: a Task Scheduler entry (default there)."),
        click.option(
            "--system", "scope", flag_value="system", help="System service; needs root or administrator rights."
        ),
        click.option("--user", "scope", flag_value="user", default=True, help="User service (default)."),
    ):
        command = option(command)
    return command


dry_run_option = click.option("--dry-run", is_flag=True, help="Only show files and commands.")
replace_option = click.option("--replace", is_flag=True, help="Back up and replace files you edited.")


@click.group(short_help="Install, start, stop or inspect the service.")
def service() -> None:
    """Let the system run the daemon and restart it after a crash: systemd, launchd, Windows."""


def _detect_service(scope: str, user: str | None) -> DetectedService:
    from indexd.service.manager_detection import detect_service

    return detect_service(scope, home_folder(), user=user, need_settings=False)


@service.command(short_help="Install and enable the service.")
@scope_options
@click.option("--now", is_flag=True, help="Also start it, or restart it.")
@click.option(
    "--writable",
    multiple=True,
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="With --system: another writable folder for jobs (repeatable).",
)
@dry_run_option
@replace_option
def install(scope: str, user: str | None, now: bool, writable: tuple[str, ...], dry_run: bool, replace: bool) -> None:
    """Write the unit (task, plist) and enable it. Repeatable; never overwrites a file that you edited."""
    from indexd.service.manager_detection import detect_service

    folders = [Path(folder).expanduser().absolute() for folder in writable]
    chosen = detect_service(scope, home_folder(), user=user, extra_writable=folders)
    chosen.manager.install(chosen.spec, chosen.installer(print_text, dry_run=dry_run, replace=replace), now=now)
    if not now and not dry_run:
        print_notice("it starts with the next login or boot; now: `indexd service start`")


@service.command(short_help="Stop the service and remove its files.")
@scope_options
@dry_run_option
@replace_option
def uninstall(scope: str, user: str | None, dry_run: bool, replace: bool) -> None:
    """Stop the service and remove the files that install wrote. Keeps settings, index, images and your own files."""
    chosen = _detect_service(scope, user)
    chosen.manager.uninstall(chosen.installer(print_text, dry_run=dry_run, replace=replace))


@service.command(short_help="Start the service.")
@scope_options
@dry_run_option
def start(scope: str, user: str | None, dry_run: bool) -> None:
    """Start the installed service."""
    chosen = _detect_service(scope, user)
    chosen.manager.start(chosen.installer(print_text, dry_run=dry_run))


@service.command(short_help="Stop the service.")
@scope_options
@dry_run_option
def stop(scope: str, user: str | None, dry_run: bool) -> None:
    """Stop the service. A running render gets ten seconds; pending work stays in the ledger."""
    chosen = _detect_service(scope, user)
    chosen.manager.stop(chosen.installer(print_text, dry_run=dry_run))


@service.command(short_help="Show service status.")
@scope_options
@json_option
def status(scope: str, user: str | None, as_json: bool) -> int:
    """Show whether the service is installed, current and running. Exit code 3 when it does not run."""
    from indexd_schemas.api.output import ServiceStatus

    chosen = _detect_service(scope, user)
    found = chosen.manager.status(chosen.spec)
    if as_json:
        print_json(
            ServiceStatus(installed=found.installed, current=found.current, running=found.running, detail=found.detail)
        )
    else:
        print_block(found.detail)
    return EXIT_OK if found.running else EXIT_NOTHING_FOUND


@service.command(short_help="Show the log.")
@scope_options
@click.option("-n", "--lines", type=WholeNumber(1, 1_000_000), default=50, show_default=True, help="Number of lines.")
@click.option("-f", "--follow", is_flag=True, help="Follow the log.")
def logs(scope: str, user: str | None, lines: int, follow: bool) -> int:
    """Show the end of the log, from the journal or the log file."""
    from indexd.service.log_tail import tail_log

    chosen = _detect_service(scope, user)
    source = chosen.manager.logs(chosen.spec, lines, follow)
    if isinstance(source, Path):
        tail_log(source, lines, follow=follow, echo=print_text)
        return EXIT_OK
    try:
        return subprocess.run(source, check=False).returncode
    except FileNotFoundError:
        from indexd.errors import IndexdError

        raise IndexdError(f"there is no {source[0]} on this system") from None
