"""Watches the daemon's own files while it runs: a person or a clean-up job may delete them.

| deleted or replaced | what is done |
|---|---|
| index | writes are refused; the content is saved from the open handle; the daemon restarts with it |
| write-ahead log, shared memory | writes are refused; the log is written into the index; the daemon restarts |
| lock file | made anew and taken; if another process has taken it, this one stops |
| socket | the HTTP API listens anew |
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from indexd.background.background_service import BackgroundService
from indexd.background.backoff import Backoff
from indexd.errors import StoreError
from indexd.instance_lock import InstanceLock

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0


class RescuableStore(Protocol):
    """What the monitor needs of the open index."""

    def lost_files(self) -> str | None:
        """What is deleted or replaced, as a sentence; None when all files are in place."""
        ...

    def rescue(self) -> Path:
        """Save the content from the open handle; returns the file that holds it. Raises StoreError or OSError."""
        ...


class RestartableServer(Protocol):
    """What the monitor needs of the HTTP API."""

    def is_reachable(self) -> bool:
        """Whether the socket file is in place."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class StateFileMonitor(BackgroundService):
    """Checks the files twice a second. `on_rescued` is called when the daemon must restart to use the saved content."""

    def __init__(
        self,
        store: RescuableStore,
        server: RestartableServer,
        lock: InstanceLock | None,
        on_event: Callable[[str, str], None],
        on_rescued: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__("state-files", on_failure=on_failure, retry=Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS))
        self._store = store
        self._server = server
        self._lock = lock
        self._on_event = on_event
        self._on_rescued = on_rescued
        self._reported_loss = ""

    def run_once(self) -> float | None:
        """Check once. None: the index was rescued, and nothing is left to do before the restart."""
        if self._lock is not None and self._lock.is_lost():
            self._lock.restore()
            log.error("the lock file of the index was deleted while indexd runs; indexd created it again")
        if (loss := self._store.lost_files()) is not None:
            self._rescue(loss)
            return None
        if not self._server.is_reachable():
            log.error("the socket of the HTTP API was deleted while indexd runs; indexd opens it again")
            self._server.stop()
            self._server.start()
        return CHECK_SECONDS

    def is_retryable(self, error: Exception) -> bool:
        """A rescue that has no room, and a socket whose folder cannot be written, are tried again."""
        return isinstance(error, (StoreError, OSError)) and not (self._lock is not None and self._lock.is_lost())

    def _rescue(self, loss: str) -> None:
        if loss != self._reported_loss:
            log.critical("%s; writes are refused while the content is saved from the open handle", loss)
            self._reported_loss = loss
        saved = self._store.rescue()
        log.critical("the content of the index is saved in %s; the daemon restarts with it", saved)
        self._on_rescued()
