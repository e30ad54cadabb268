"""The queue's pause while the machine is at fault: its reason in the ledger, and when to look at the cause again."""

from __future__ import annotations

import contextlib
import logging

from indexd.errors import StoreUnavailable
from indexd.jobs.queue.retry import Blocked
from indexd.store.protocols import IndexStore

log = logging.getLogger(__name__)


class QueuePause:
    """On while a setback lasts. The same setback again, with nothing made in between, is looked at more seldom."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._blocked: Blocked | None = None
        self._last_reason = ""
        self._repeats = 0

    @property
    def is_paused(self) -> bool:
        """Whether the queue waits."""
        return self._blocked is not None

    @property
    def next_check_at(self) -> float:
        """When the cause is looked at next."""
        return self._blocked.next_check_at if self._blocked else 0.0

    def pause(self, blocked: Blocked, now: float) -> None:
        """Pause the queue for this reason."""
        self._repeats = self._repeats + 1 if blocked.reason == self._last_reason else 0
        blocked.checks = self._repeats
        blocked.schedule_next_check(now)
        self._blocked = blocked
        if blocked.reason != self._last_reason:
            log.warning("the queue waits: %s", blocked.reason)
            with contextlib.suppress(StoreUnavailable):
                self._store.events.add("queue_paused", blocked.reason)
        self._last_reason = blocked.reason
        with contextlib.suppress(StoreUnavailable):  # an index that takes nothing is reason enough to wait, told or not
            self._store.jobs.pause(blocked.reason)

    def check(self, now: float) -> None:
        """Resume if the cause is gone and it is time to look."""
        if self._blocked is None:
            return
        due = self._blocked.is_due(now)
        if (due or self._blocked.check_every_turn) and self._blocked.is_resolved():
            self.resume()
        elif due:
            self._blocked.schedule_next_check(now)

    def resume(self) -> None:
        """The queue goes on."""
        if self._blocked is not None:
            log.info("the queue goes on")
        self._store.jobs.pause(None)
        self._blocked = None

    def record_success(self) -> None:
        """A picture was made: the next setback is a new one."""
        self._last_reason, self._repeats = "", 0
