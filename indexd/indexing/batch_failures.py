"""What a failed batch means: whose fault it is, and when to try again. Pure decisions, no side effects."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from indexd.errors import CallCancelled, ModelUnavailable, OutOfMemory
from indexd.indexing.stages.index_stage import TaskBatch

MAX_ATTEMPTS = 3
RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Requeue:
    """Nobody's fault, or the machine's: un-count the attempts."""


@dataclass(frozen=True, slots=True)
class BackOffRole:
    """The machine's fault, or the model's: un-count, and leave the role alone for a while."""

    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class HalveBatch:
    """The batch is too large for the device: un-count, and send half as many from now on."""


@dataclass(frozen=True, slots=True)
class IsolateTasks:
    """One of them may be to blame: the attempts stay counted, and each goes alone from now on."""


@dataclass(frozen=True, slots=True)
class GiveUpTask:
    """It was alone and it is the last attempt."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """It was alone; once more after `seconds`."""

    seconds: float


FailureDecision = Requeue | BackOffRole | HalveBatch | IsolateTasks | GiveUpTask | RetryLater


def decide_on_failure(batch: TaskBatch, role: str | None, error: BaseException) -> FailureDecision:
    """What to do about `error`. `role` is the model's, None for the thumbnails."""
    if isinstance(error, CallCancelled):
        return Requeue()
    if isinstance(error, ModelUnavailable):
        return BackOffRole(error.role, error.reason)
    if isinstance(error, OutOfMemory):
        if len(batch.tasks) > 1:
            return HalveBatch()
        return BackOffRole(role or "thumbnail", str(error))
    # A sector that cannot be read is one picture's; whatever else the system refuses is the machine's.
    if (isinstance(error, OSError) and error.errno != errno.EIO) or not batch.tasks:
        return BackOffRole(role or "thumbnail", str(error))
    # A dead worker, a hung one, a defect: perhaps one of the items did it.
    if len(batch.tasks) > 1:
        return IsolateTasks()
    (item,) = batch.tasks
    return GiveUpTask() if item.attempts >= MAX_ATTEMPTS else RetryLater(RETRY_SECONDS * item.attempts)
