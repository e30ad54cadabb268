"""`indexd service`: have the system keep the daemon running, and take that away again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexd.cli.support.printing import json_option, print_json, print_notice, print_text
from indexd.cli.support.session import home_folder
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK

if TYPE_CHECKING:
    from indexd.service.manager_detection import DetectedService

Command = Callable[..., Any]


def scope_options(command: Command) -> Command:
    """Whose service it is, on every sub-command."""
    for option in (
        click.option(
            "--for", "user", metavar="USER", help="With --system: the user as whom it runs (default: who asks)."
        ),
        click.option(
            "--task", "scope", flag_value="task", help="Windows: an entry of the Task Scheduler (the default there)."
        ),
        click.option(
            "--system", "scope", flag_value="system", help="A service of the system; needs root or administrator."
        ),
        click.option("--user", "scope", flag_value="user", default=True, help="A service of this user (the default)."),
    ):
        command = option(command)
    return command


dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be written and run; change nothing.")
replace_option = click.option("--replace", is_flag=True, help="Set files that were changed by hand aside.")


@click.group(short_help="Install, start, stop or watch the service.")
def service() -> None:
    """Have the system run the daemon and start it again when it dies: systemd, launchd, Windows."""


def _detect_service(scope: str, user: str | None) -> DetectedService:
    from indexd.service.manager_detection import detect_service

    return detect_service(scope, home_folder(), user=user, need_settings=False)


@service.command(short_help="Write what the system needs, and enable it.")
@scope_options
@click.option("--now", is_flag=True, help="Start it as well (again, if it runs).")
@click.option(
    "--writable",
    multiple=True,
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="With --system: one more folder that jobs write to (may be given again).",
)
@dry_run_option
@replace_option
def install(scope: str, user: str | None, now: bool, writable: tuple[str, ...], dry_run: bool, replace: bool) -> None:
    """Write the unit (task, plist) and enable it. Repeatable; a file that was changed by hand is never overwritten."""
    from indexd.service.manager_detection import detect_service

    folders = [Path(folder).expanduser().absolute() for folder in writable]
    chosen = detect_service(scope, home_folder(), user=user, extra_writable=folders)
    chosen.manager.install(chosen.spec, chosen.installer(print_text, dry_run=dry_run, replace=replace), now=now)
    if not now and not dry_run:
        print_notice("it starts with the next login or boot; now: `indexd service start`")


@service.command(short_help="Stop it, and take away what install wrote.")
@scope_options
@dry_run_option
@replace_option
def uninstall(scope: str, user: str | None, dry_run: bool, replace: bool) -> None:
    """Stop the service and take away what install wrote. Settings, index, pictures and files of yours stay."""
    chosen = _detect_service(scope, user)
    chosen.manager.uninstall(chosen.installer(print_text, dry_run=dry_run, replace=replace))


@service.command(short_help="Start it.")
@scope_options
@dry_run_option
def start(scope: str, user: str | None, dry_run: bool) -> None:
    """Start the installed service."""
    chosen = _detect_service(scope, user)
    chosen.manager.start(chosen.installer(print_text, dry_run=dry_run))


@service.command(short_help="Stop it in good order.")
@scope_options
@dry_run_option
def stop(scope: str, user: str | None, dry_run: bool) -> None:
    """Stop the service: a render in hand gets ten seconds, what waits stays in the ledger."""
    chosen = _detect_service(scope, user)
    chosen.manager.stop(chosen.installer(print_text, dry_run=dry_run))


@service.command(short_help="Say how it stands.")
@scope_options
@json_option
def status(scope: str, user: str | None, as_json: bool) -> int:
    """Say whether it is installed, current and running. Exit code 3 when it does not run."""
    from indexd_schemas.api.output import ServiceStatus

    chosen = _detect_service(scope, user)
    found = chosen.manager.status(chosen.spec)
    if as_json:
        print_json(
            ServiceStatus(installed=found.installed, current=found.current, running=found.running, detail=found.detail)
        )
    else:
        print_text(found.detail)
    return EXIT_OK if found.running else EXIT_NOTHING_FOUND


@service.command(short_help="Show what it said.")
@scope_options
@click.option("-n", "--lines", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="So many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what comes.")
def logs(scope: str, user: str | None, lines: int, follow: bool) -> int:
    """Show the end of the log: of the journal, or of the log file where there is none."""
    from indexd.service.log_tail import tail_log

    chosen = _detect_service(scope, user)
    source = chosen.manager.logs(chosen.spec, lines, follow)
    if isinstance(source, Path):
        tail_log(source, lines, follow=follow, echo=click.echo)
        return EXIT_OK
    try:
        return subprocess.run(source, check=False).returncode
    except FileNotFoundError:
        from indexd.errors import IndexdError

        raise IndexdError(f"there is no {source[0]} on this system") from None
