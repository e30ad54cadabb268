"""Settings of `--home`, and operations through the daemon or in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from indexd.api.operations.registry import Operation, Operations, RequestT, ResponseT
    from indexd.config import Config


def home_folder() -> Path | None:
    """The folder of `--home`, or None for `INDEXD_HOME` or the standard locations."""
    context = click.get_current_context(silent=True)
    given = context.find_root().params.get("home") if context is not None else None
    return Path(given) if given else None


def load_config() -> Config:
    """Read the settings. Raises SettingsError."""
    from indexd.config import read_config

    return read_config(home_folder())


@contextmanager
def open_operations(*, need_daemon: bool = False, write: bool = False) -> Iterator[Operations]:
    """Operations of the running daemon, else of this process (read-only unless `write`)."""
    from indexd.api.connect import connect, find_running_daemon

    remote = find_running_daemon(home_folder())
    found = remote or connect(load_config(), need_daemon=need_daemon, write=write)
    try:
        yield found
    finally:
        found.close()


def call_with_progress(description: str, operation: Operation[RequestT, ResponseT], request: RequestT) -> ResponseT:
    """Call an operation; on a terminal a progress bar shows `description` meanwhile."""
    from indexd.cli.support.printing import waiting

    with open_operations() as operations, waiting(description):
        return operations.call(operation, request)
