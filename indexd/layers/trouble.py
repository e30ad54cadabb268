"""What a failed batch means: whose fault it is, and when to try again. Pure decisions, no side effects."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from indexd.errors import CallCancelled, ModelOff, OutOfMemory
from indexd.layers.batch import Batch

MAX_ATTEMPTS = 3
RETRY_SECONDS = 30.0


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
