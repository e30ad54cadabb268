"""The queue's pause while the machine is at fault: its reason in the ledger, and when to look at the cause again."""

from __future__ import annotations

import contextlib
import logging

from indexd.errors import StoreUnavailable
from indexd.jobs.setbacks import Setback
from indexd.store.index import Store

log = logging.getLogger(__name__)


class QueuePause:
    """On while a setback lasts. The same setback again, with nothing made in between, is looked at more seldom."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._setback: Setback | None = None
        self._told = ""
        self._repeats = 0

    @property
    def on(self) -> bool:
        """Whether the queue waits."""
        return self._setback is not None

    @property
    def probe_at(self) -> float:
        """When the cause is looked at next."""
        return self._setback.probe_at if self._setback else 0.0

    def set_back(self, setback: Setback, now: float) -> None:
        """Pause the queue for this reason."""
        self._repeats = self._repeats + 1 if setback.reason == self._told else 0
        setback.probes = self._repeats
        setback.next_probe(now)
        self._setback = setback
        if setback.reason != self._told:
            log.warning("the queue waits: %s", setback.reason)
            with contextlib.suppress(StoreUnavailable):
                self._store.events.add("queue_paused", setback.reason)
        self._told = setback.reason
        with contextlib.suppress(StoreUnavailable):  # an index that takes nothing is reason enough to wait, told or not
            self._store.jobs.pause(setback.reason)

    def probe(self, now: float) -> None:
        """Resume if the cause is gone and it is time to look."""
        if self._setback is None:
            return
        due = self._setback.due(now)
        if (due or self._setback.prompt) and self._setback.cured():
            self.resume()
        elif due:
            self._setback.next_probe(now)

    def resume(self) -> None:
        """The queue goes on."""
        if self._setback is not None:
            log.info("the queue goes on")
        self._store.jobs.pause(None)
        self._setback = None

    def worked(self) -> None:
        """A picture was made: the next setback is a new one."""
        self._told, self._repeats = "", 0
