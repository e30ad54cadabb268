"""`indexd metrics`: metrics for a monitoring system."""

from __future__ import annotations

import click

from indexd.cli.support.printing import print_data
from indexd.cli.support.session import open_operations


@click.command(short_help="Print metrics in Prometheus' format.")
def metrics() -> None:
    """Print the metrics of `GET /metrics` in Prometheus' text format (docs/monitoring.md).

    Without a daemon: only those of the index.
    """
    from indexd.api.operations import status

    with open_operations() as operations:
        print_data(operations.call(status.metrics))
