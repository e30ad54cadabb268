"""Which handler answers which kind of file or job: the one place where capabilities are registered.

`@job_kind` (indexd.jobs.kinds) registers a job kind, `@handles_file("image")` a kind of settled file. A second registration
of the same kind raises and names both. Other people's packages add handlers through the entry-point group
`indexd.handlers`: each entry point names a module, and importing it registers what it holds.

Our own are imported when a kind is first looked for; the daemon imports all of them as it starts, for later there may be no
file handle left to read a module with, or another version of the program may lie in its place.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from indexd.errors import IndexdError
from indexd_schemas.settings import Settings

log = logging.getLogger(__name__)

Handler = TypeVar("Handler")

ENTRY_POINT_GROUP = "indexd.handlers"


@dataclass(frozen=True, slots=True)
class IngestContext:
    """What a file handler may use.

    `jobs` is the facade of job admission. `read_images` is ReaderClient.read_batch; None reads in this process.
    """

    settings: Settings
    jobs: Any = None
    read_images: Callable[[Sequence[bytes]], list[Any]] | None = None


class AlreadyRegistered(IndexdError):
    """Two handlers claim the same kind; the text names both."""


class HandlerRegistry:
    """Handlers by kind, filled by decorators: our own by those in the modules of `package`."""

    def __init__(self, noun: str, package: str) -> None:
        self._noun = noun
        self._package = package
        self._filled = False
        self._handlers: dict[str, Any] = {}

    def fill(self) -> None:
        """Import our own handlers, if that was not done yet. From any thread.

        Raises OSError when the folder of the package cannot be listed; the next call tries again.
        """
        if not self._filled:
            # pkgutil.iter_modules takes a folder that it cannot list for an empty one.
            names = sorted(entry.name for entry in importlib.resources.files(self._package).iterdir())
            for name in names:
                if name.endswith(".py") and name != "__init__.py":
                    importlib.import_module(f"{self._package}.{name.removesuffix('.py')}")
            self._filled = True

    def register(self, kind: str) -> Callable[[Handler], Handler]:
        """A decorator that makes its argument the one handler of `kind`."""

        def add(handler: Handler) -> Handler:
            known = self._handlers.get(kind)
            if known is not None and _name(known) != _name(handler):
                raise AlreadyRegistered(f"{self._noun} {kind!r} is handled by {_name(known)} and by {_name(handler)}")
            self._handlers[kind] = handler
            return handler

        return add

    def get(self, kind: str) -> Any:
        """The handler of `kind`, or None."""
        self.fill()
        return self._handlers.get(kind)

    def kinds(self) -> Mapping[str, Any]:
        """Every kind with its handler, by name."""
        self.fill()
        return dict(sorted(self._handlers.items()))


def _name(handler: Any) -> str:
    """The qualified name of a function, or of the class of an object."""
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{named.__module__}.{named.__qualname__}"


job_kinds = HandlerRegistry("job kind", "indexd_handlers.jobs")
file_kinds = HandlerRegistry("file kind", "indexd_handlers")
handles_file = file_kinds.register


def load_handlers() -> None:
    """Import our own handlers, then those of installed packages; a broken package is logged and left out."""
    job_kinds.fill()
    file_kinds.fill()
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except AlreadyRegistered:
            raise
        except Exception:
            log.exception("handler package %s (%s) cannot be loaded and is left out", entry.name, entry.value)
