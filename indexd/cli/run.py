"""`indexd run`: the daemon in the foreground, as a service manager wants it."""

from __future__ import annotations

import os

import click

from indexd.cli.session import settings


@click.command(short_help="Run the daemon in the foreground.")
def run() -> None:
    """Watch, index, answer and make pictures until asked to stop.

    The first Ctrl-C (or SIGTERM) stops in good order: a render in hand gets ten seconds to be finished, then it is
    handed back within one step. The second stops at once; nothing that was accepted is lost either way. Says what it
    does on stderr; under systemd it tells the manager when it is ready.
    """
    from indexd import daemon, logs

    config = settings()
    logs.set_up(config.settings.log, journal="JOURNAL_STREAM" in os.environ)
    daemon.run(config)
