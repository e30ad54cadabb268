"""The models that failed when they were last tried, and how long each is not tried again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from indexd.background.backoff import Backoff

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 900.0


@dataclass(slots=True)
class _FailedRole:
    backoff: Backoff
    reason: str = ""
    fingerprint: str | None = None


class RoleBackoff:
    """Roles whose model failed: not tried for a while, longer each time until a batch succeeds.

    `fingerprint_of` gives the fingerprint of the files of a role (None = it has none), `now` the seconds since the epoch.
    """

    def __init__(self, fingerprint_of: Callable[[str], str | None], now: Callable[[], float]) -> None:
        self._fingerprint_of = fingerprint_of
        self._now = now
        self._failed: dict[str, _FailedRole] = {}
        self._lock = threading.Lock()
        self._working: set[str] = set()
        self._next_check_at = 0.0

    def back_off(self, role: str, reason: str) -> bool:
        """Do not try `role` for a while; return whether the reason is another than last time."""
        failed = self._failed.get(role)
        if failed is None:
            backoff = Backoff(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, clock=self._now)
            failed = self._failed[role] = _FailedRole(backoff)
        is_new = failed.reason != reason
        failed.backoff.fail()
        failed.reason, failed.fingerprint = reason, self._fingerprint_of(role)
        return is_new

    def clear(self, role: str) -> None:
        """A batch of the role succeeded."""
        self._failed.pop(role, None)

    def is_backed_off(self, role: str) -> bool:
        """Whether the role is not to be tried yet."""
        failed = self._failed.get(role)
        return failed is not None and not failed.backoff.is_due

    def reasons(self) -> dict[str, str]:
        """Why which roles did not work when they were last tried. From any thread."""
        return {role: failed.reason for role, failed in dict(self._failed).items()}

    def mark_working(self, role: str) -> None:
        """The model of `role` was just run and works; its back-off ends at the next check. From any thread."""
        with self._lock:
            self._working.add(role)

    def clear_repaired(self, every_seconds: float) -> None:
        """End the back-off of roles that work and, every `every_seconds`, of those whose files have changed since."""
        with self._lock:
            working, self._working = self._working, set()
        if not working and self._now() < self._next_check_at:
            return
        self._next_check_at = self._now() + every_seconds
        for role, failed in list(self._failed.items()):
            if role in working or self._fingerprint_of(role) != failed.fingerprint:
                log.info("index tasks of %s go on: its model works now, or was replaced", role)
                self.clear(role)
