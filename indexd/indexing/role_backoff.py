"""The models that failed when they were last tried, and how long each is not tried again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 900.0


@dataclass(slots=True)
class _BackoffState:
    reason: str
    until: float
    seconds: float
    fingerprint: str | None


class RoleBackoff:
    """Roles whose model failed: not tried for a while, longer each time until a batch succeeds.

    `fingerprint_of` gives the fingerprint of the files of a role; None = it has none.
    """

    def __init__(self, fingerprint_of: Callable[[str], str | None]) -> None:
        self._fingerprint_of = fingerprint_of
        self._states: dict[str, _BackoffState] = {}
        self._lock = threading.Lock()
        self._working: set[str] = set()
        self._next_check_at = 0.0

    def back_off(self, role: str, reason: str, now: float) -> bool:
        """Do not try `role` for a while; return whether the reason is another than last time."""
        last = self._states.get(role)
        seconds = min(MAX_BACKOFF_SECONDS, last.seconds * 2) if last else FIRST_BACKOFF_SECONDS
        self._states[role] = _BackoffState(reason, now + seconds, seconds, self._fingerprint_of(role))
        return last is None or last.reason != reason

    def clear(self, role: str) -> None:
        """A batch of the role succeeded."""
        self._states.pop(role, None)

    def is_backed_off(self, role: str, now: float) -> bool:
        """Whether the role is not to be tried yet."""
        hold = self._states.get(role)
        # Further ahead than the longest hold: the clock was set back since.
        return hold is not None and now < hold.until <= now + MAX_BACKOFF_SECONDS

    def reasons(self) -> dict[str, str]:
        """Why which roles did not work when they were last tried. From any thread."""
        return {role: hold.reason for role, hold in dict(self._states).items()}

    def mark_working(self, role: str) -> None:
        """The model of `role` was just run and works; its back-off ends at the next check. From any thread."""
        with self._lock:
            self._working.add(role)

    def clear_repaired(self, now: float, every_seconds: float) -> None:
        """End the back-off of roles that work, and, every `every_seconds`, of those whose files have changed since they failed."""
        with self._lock:
            works, self._working = self._working, set()
        if not works and now < self._next_check_at:
            return
        self._next_check_at = now + every_seconds
        for role, hold in list(self._states.items()):
            if role in works or self._fingerprint_of(role) != hold.fingerprint:
                log.info("index tasks of %s go on: its model works now, or was replaced", role)
                self.clear(role)
