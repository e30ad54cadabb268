"""The retry policy for failed batches of index tasks. Pure decisions, no side effects."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from indexd.errors import CallCancelled, ModelUnavailable, OutOfMemory
from indexd.indexing.stages.index_stage import TaskBatch

MAX_ATTEMPTS = 3
RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Requeue:
    """The images are not to blame: the attempts do not count."""


@dataclass(frozen=True, slots=True)
class BackOffRole:
    """The machine or the model is to blame: the attempts do not count, and the role is not tried for a while."""

    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class HalveBatch:
    """The batch is too large for the device: the attempts do not count, and later batches are half as large."""


@dataclass(frozen=True, slots=True)
class IsolateTasks:
    """One of the images may be to blame: the attempts count, and each goes alone from now on."""


@dataclass(frozen=True, slots=True)
class GiveUpTask:
    """The image was alone, and this was the last attempt."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The image was alone; try again after `seconds`."""

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
    # A sector that cannot be read is one image's; whatever else the system refuses is the machine's.
    if (isinstance(error, OSError) and error.errno != errno.EIO) or not batch.tasks:
        return BackOffRole(role or "thumbnail", str(error))
    # A dead worker, a hung one, a defect: perhaps one of the items did it.
    if len(batch.tasks) > 1:
        return IsolateTasks()
    (item,) = batch.tasks
    return GiveUpTask() if item.attempts >= MAX_ATTEMPTS else RetryLater(RETRY_SECONDS * item.attempts)
