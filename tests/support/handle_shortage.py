"""A process that has no handle left: every open, listing and reading of the index is counted, and some are refused."""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from indexd.errors import StoreUnavailable, is_transient
from indexd.store.sqlite.database import Database


class HandleShortage:
    """Refuses handles as the system does (EMFILE), and readers of the index as the store does, while a test runs."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._requested = 0
        self._refused = range(0)
        for module, name in ((os, "open"), (os, "scandir"), (os, "listdir")):
            patch.setattr(module, name, self._counted(getattr(module, name)))
        opened = self._counted(io.open)
        for name in ("builtins.open", "io.open"):
            patch.setattr(name, opened)
        readers = Database._acquire_reader

        def take_reader(database: Database) -> Any:
            if self._refuses_next():
                raise StoreUnavailable("cannot open the index: no file handle is left (on purpose)")
            return readers(database)

        patch.setattr(Database, "_acquire_reader", take_reader)

    def refuse(self, first: int, count: int) -> None:
        """From now on, let `first` handles be had, and then refuse `count`."""
        self._requested, self._refused = 0, range(first, first + count)

    @property
    def was_reached(self) -> bool:
        """Whether anything has been refused."""
        return self._requested > self._refused.start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is refused or counted in this block."""
        asked, refused, self._refused = self._requested, self._refused, range(0)
        try:
            yield
        finally:
            self._requested, self._refused = asked, refused

    def _refuses_next(self) -> bool:
        self._requested += 1
        return self._requested - 1 in self._refused

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(what: Any = ".", *more: Any, **named: Any) -> Any:
            if not isinstance(what, int) and self._refuses_next():
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), what)
            return real(what, *more, **named)

        return ask


def refuse_each(shortage: HandleShortage, count: int) -> Iterator[int]:
    """Refuse `count` handles in a row, in each round beginning with another one, until a round needs no more than that."""
    for first in itertools.count():
        shortage.refuse(first, count)
        yield first
        if not shortage.was_reached:
            return


def retry_until_done(work: Callable[[], Any], times: int = 100) -> Any:
    """Do it until the machine does not stand in the way, as everybody in the daemon does who moves a queue."""
    for _ in range(times):
        try:
            return work()
        except Exception as error:
            if not is_transient(error):
                raise
    raise AssertionError("it never came through")
