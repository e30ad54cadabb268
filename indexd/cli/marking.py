"""What `rate` and `tag` share: carry it out, say how many, and give the exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from indexd.cli.printing import note, print_json
from indexd.cli.session import operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK, EXIT_PARTLY_FAILED

if TYPE_CHECKING:
    from indexd.api.operations import Operations
    from indexd_schemas.output import Marked


def marked(mark: Callable[[Operations], Marked], as_json: bool) -> int:
    """Run `mark` by the daemon, or in this process under the instance lock; the exit code."""
    with operations(write=True) as door:
        outcome = mark(door)
    if as_json:
        print_json(outcome)
    else:
        click.echo(f"{outcome.changed} changed")
    for name in outcome.not_found:
        note(f"not in the index: {name}")
    if not outcome.not_found:
        return EXIT_OK
    return EXIT_PARTLY_FAILED if outcome.changed else EXIT_NOTHING_FOUND
