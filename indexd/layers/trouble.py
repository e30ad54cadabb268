"""What a failed batch means: whose fault it is, and when to try again. Pure decisions, no side effects."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from indexd.errors import CallCancelled, ModelOff, OutOfMemory
from indexd.layers.batch import Batch

MAX_ATTEMPTS = 3
RETRY_SECONDS = 30.0
HOLD_SECONDS = 60.0
LONGEST_HOLD_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Nobody's fault, or the machine's: un-count the attempts."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The machine's fault, or the model's: un-count, and leave the role alone for a while."""

    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class Smaller:
    """The batch is too large for the device: un-count, and send half as many from now on."""


@dataclass(frozen=True, slots=True)
class Isolate:
    """One of them may be to blame: the attempts stay counted, and each goes alone from now on."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """It was alone and it is the last attempt."""


@dataclass(frozen=True, slots=True)
class Later:
    """It was alone; once more after `seconds`."""

    seconds: float


Verdict = GiveBack | Hold | Smaller | Isolate | SetAside | Later


def judge(batch: Batch, role: str | None, error: BaseException) -> Verdict:
    """What to do about `error`. `role` is the model's, None for the thumbnails."""
    if isinstance(error, CallCancelled):
        return GiveBack()
    if isinstance(error, ModelOff):
        return Hold(error.role, error.reason)
    if isinstance(error, OutOfMemory):
        if len(batch.items) > 1:
            return Smaller()
        return Hold(role or "thumbnail", str(error))
    # A sector that cannot be read is one picture's; whatever else the system refuses is the machine's.
    if (isinstance(error, OSError) and error.errno != errno.EIO) or not batch.items:
        return Hold(role or "thumbnail", str(error))
    # A dead worker, a hung one, a defect: perhaps one of the items did it.
    if len(batch.items) > 1:
        return Isolate()
    (item,) = batch.items
    return SetAside() if item.attempts >= MAX_ATTEMPTS else Later(RETRY_SECONDS * item.attempts)


@dataclass(slots=True)
class Holds:
    """The roles that are left alone for a while, longer each time until a batch of theirs succeeds."""

    _until: dict[str, float] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    _reasons: dict[str, str] = field(default_factory=dict)

    def hold(self, role: str, reason: str, now: float) -> bool:
        """Leave `role` alone from now on; answers whether the reason is news."""
        news = self._reasons.get(role) != reason
        seconds = self._seconds.get(role, 0.0)
        self._seconds[role] = min(LONGEST_HOLD_SECONDS, seconds * 2 if seconds else HOLD_SECONDS)
        self._until[role] = now + self._seconds[role]
        self._reasons[role] = reason
        return news

    def release(self, role: str) -> None:
        """The role works."""
        for kept in (self._until, self._seconds, self._reasons):
            kept.pop(role, None)

    def held(self, role: str, now: float) -> bool:
        """Whether the role is to be left alone still."""
        # Further ahead than the longest hold: the clock was set back since.
        return now < self._until.get(role, now) <= now + LONGEST_HOLD_SECONDS

    def reasons(self) -> dict[str, str]:
        """Why which roles did not work when they were last tried."""
        return dict(self._reasons)
