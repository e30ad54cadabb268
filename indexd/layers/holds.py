"""The models that did not work when they were last tried, and how long each is left alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

HOLD_SECONDS = 60.0
LONGEST_HOLD_SECONDS = 900.0


@dataclass(slots=True)
class _Hold:
    reason: str
    until: float
    seconds: float
    stamp: str | None


class Holds:
    """The roles that are left alone for a while, longer each time until a batch of theirs succeeds.

    `stamp_of` says what the files of a role look like; None = it has none.
    """

    def __init__(self, stamp_of: Callable[[str], str | None]) -> None:
        self._stamp_of = stamp_of
        self._holds: dict[str, _Hold] = {}
        self._lock = threading.Lock()
        self._works: set[str] = set()
        self._look_at = 0.0

    def hold(self, role: str, reason: str, now: float) -> bool:
        """Leave `role` alone from now on; answers whether the reason is news."""
        last = self._holds.get(role)
        seconds = min(LONGEST_HOLD_SECONDS, last.seconds * 2) if last else HOLD_SECONDS
        self._holds[role] = _Hold(reason, now + seconds, seconds, self._stamp_of(role))
        return last is None or last.reason != reason

    def release(self, role: str) -> None:
        """The role works."""
        self._holds.pop(role, None)

    def held(self, role: str, now: float) -> bool:
        """Whether the role is to be left alone still."""
        hold = self._holds.get(role)
        # Further ahead than the longest hold: the clock was set back since.
        return hold is not None and now < hold.until <= now + LONGEST_HOLD_SECONDS

    def reasons(self) -> dict[str, str]:
        """Why which roles did not work when they were last tried. From any thread."""
        return {role: hold.reason for role, hold in dict(self._holds).items()}

    def works(self, role: str) -> None:
        """The model of `role` was just tried and works; what is held is let go of at the next look. From any thread."""
        with self._lock:
            self._works.add(role)

    def release_repaired(self, now: float, every_seconds: float) -> None:
        """Let go of roles that were found to work, and every so often of those whose files are others than those that failed."""
        with self._lock:
            works, self._works = self._works, set()
        if not works and now < self._look_at:
            return
        self._look_at = now + every_seconds
        for role, hold in list(self._holds.items()):
            if role in works or self._stamp_of(role) != hold.stamp:
                log.info("work for %s goes on: its model was tried, or replaced", role)
                self.release(role)
