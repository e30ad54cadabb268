"""`indexd run`: runs the daemon in the foreground, for a terminal or a service manager."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import click

from indexd.cli.support.session import home_folder
from indexd.config import Config


@click.command(short_help="Run the daemon in the foreground.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Log format; overrides `[log] format`.")
@click.option(
    "--log-file", type=click.Path(dir_okay=False), help="Also write the log to this file; overrides `[log] file`."
)
@click.option(
    "--end-when-stuck",
    is_flag=True,
    hidden=True,
    help="Exit when a queue stalls: the service manager restarts but has no watchdog.",
)
@click.option("--windows-service", is_flag=True, hidden=True, help="Run under the service control manager of Windows.")
def run(log_format: str | None, log_file: str | None, end_when_stuck: bool, windows_service: bool) -> None:
    """Run the daemon: watch, index, search and render until stopped.

    The first Ctrl-C (or SIGTERM) drains: a running render gets ten seconds, then the worker returns it within one step. The second
    stops at once. Neither loses accepted work. SIGHUP reads the settings again. The log goes to stderr. Under systemd the daemon
    reports when it is ready.
    """
    # Imported objects live as long as the process. Garbage collection of the growing heap took a tenth of the start, and would
    # take as long in every later full collection.
    gc.disable()
    from indexd import logging_setup, process_lifecycle
    from indexd.config import read_config

    gc.freeze()
    gc.enable()

    folder = home_folder()
    log = {
        "format": log_format,
        "file": str(Path(log_file).expanduser().absolute()) if log_file else None,
    }
    overrides: dict[str, Any] = {"log": {key: value for key, value in log.items() if value is not None}}

    def reread() -> Config:
        return read_config(folder, overrides)

    def set_up_log(config: Config) -> None:
        logging_setup.set_up_logging(config.settings.log, file=config.paths.log)

    control = process_lifecycle.ProcessControl()
    if not windows_service:
        process_lifecycle.install_signal_handlers(control)
    config = reread()
    set_up_log(config)
    if windows_service:
        from indexd.service.windows_host import host_service

        host_service(
            lambda: process_lifecycle.run_daemon(config, control, reread, set_up_log, end_when_stuck=True),
            control.stop,
            control.reload,
        )
    else:
        process_lifecycle.run_daemon(config, control, reread, set_up_log, end_when_stuck=end_when_stuck)
