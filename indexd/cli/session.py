"""What every command starts from: the settings of `--home`, and the operations, by the daemon or in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from indexd.api.operations import Operations
    from indexd.config import Config

Answered = TypeVar("Answered")


def home() -> Path | None:
    """The folder of `--home`, or None: `INDEXD_HOME` or the usual places are used."""
    context = click.get_current_context(silent=True)
    given = context.find_root().params.get("home") if context is not None else None
    return Path(given) if given else None


def settings() -> Config:
    """The settings. Raises SettingsError."""
    from indexd.config import load

    return load(home())


@contextmanager
def operations(*, need_daemon: bool = False, write: bool = False) -> Iterator[Operations]:
    """The operations of the daemon where it runs, else of this process (read-only unless `write`)."""
    from indexd.api.connect import connect

    found = connect(settings(), need_daemon=need_daemon, write=write)
    try:
        yield found
    finally:
        found.close()


def answered(what: str, ask: Callable[[Operations], Answered]) -> Answered:
    """What the operations answer to `ask`; on a terminal a moving bar says meanwhile `what` is being done."""
    from indexd.cli.printing import progress

    with operations() as door, progress(counted=False) as bar:
        bar.add_task(what, total=None)
        return ask(door)
