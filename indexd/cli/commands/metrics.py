"""`indexd metrics`: the numbers that a monitoring system collects, as it gets them."""

from __future__ import annotations

import click

from indexd.cli.support.session import open_operations


@click.command(short_help="Print numbers for monitoring (Prometheus).")
def metrics() -> None:
    """Print what `GET /metrics` answers, in Prometheus' text format; docs/monitoring.md explains it.

    Without a daemon: the numbers of the index alone.
    """
    from indexd.api.operations import status

    with open_operations() as operations:
        click.echo(operations.call(status.metrics), nl=False)
