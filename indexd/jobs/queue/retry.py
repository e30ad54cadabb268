"""What can go wrong while a picture is made, and what follows: whose fault it is decides."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import IndexdError, OutOfMemory, WorkerDied

MAX_ATTEMPTS = 3
RETRY_SECONDS = (2.0, 15.0)
CHECK_SECONDS = (2.0, 5.0, 15.0, 60.0)
MIN_FREE_BYTES = 32 << 20
# The daemon being killed is seldom a picture's fault, so many are forgiven; a picture that takes the whole machine
# down each time must come to an end nevertheless.
MAX_INTERRUPTIONS = 50


class InputImageGone(IndexdError):
    """The source picture of an item is not there any more, or is another picture now."""


class OutputFolderGone(IndexdError):
    """The folder of a picture is not there and is not made: its disk may not be mounted."""


@dataclass(frozen=True, slots=True)
class PermanentFailure:
    """The picture is given up, because of itself."""

    error: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The picture is tried once more, after `seconds`; the attempt counts. `pause` holds the whole queue until then."""

    error: str
    seconds: float
    pause_queue: bool = False


@dataclass(slots=True)
class Blocked:
    """The machine is at fault and the queue waits: `cured` says whether the cause is gone; `prompt`: ask it in every turn."""

    reason: str
    is_resolved: Callable[[], bool]
    next_check_at: float = 0.0
    checks: int = 0
    check_every_turn: bool = False

    def is_due(self, now: float) -> bool:
        """Whether it is time to look at the cause; a time far ahead is from before the clock was set back."""
        return not now < self.next_check_at <= now + CHECK_SECONDS[-1]

    def schedule_next_check(self, now: float) -> None:
        """Look again later, and ever more seldom."""
        self.next_check_at = now + CHECK_SECONDS[min(self.checks, len(CHECK_SECONDS) - 1)]
        self.checks += 1


def decide_retry(error: BaseException, attempts: int) -> PermanentFailure | Retry:
    """What follows from an error of the worker at attempt number `attempts` (1 = the first)."""
    text = f"{error}" if isinstance(error, IndexdError) else f"{type(error).__name__}: {error}"
    if isinstance(error, IndexdError) and not isinstance(error, (WorkerDied, OutOfMemory)):
        return PermanentFailure(text)
    if attempts >= MAX_ATTEMPTS:
        return PermanentFailure(f"{_repeated_failure_text(error, attempts)}: {text}")
    return Retry(text, RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1], pause_queue=isinstance(error, OutOfMemory))


def has_free_space(folder: Path, wanted_bytes: int = 0) -> bool:
    """Whether the disk of `folder` (or of what is left of its path) has room for so much and a little more."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free > 2 * wanted_bytes + MIN_FREE_BYTES
    except OSError:
        return False


def _repeated_failure_text(error: BaseException, attempts: int) -> str:
    if isinstance(error, WorkerDied):
        return f"the worker died {attempts} times while making this picture, so it is set aside"
    if isinstance(error, OutOfMemory):
        return f"out of memory {attempts} times"
    return f"failed {attempts} times"
