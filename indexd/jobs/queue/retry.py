"""Retry policy for failed items, and what waits while the machine or a missing file is at fault."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from indexd.background.backoff import Backoff
from indexd.errors import IndexdError, OutOfMemory, StoreUnavailable, WorkerDied
from indexd.store.protocols import IndexStore

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
RETRY_SECONDS = (2.0, 15.0)
FIRST_CHECK_SECONDS, MAX_CHECK_SECONDS, CHECK_FACTOR = 2.0, 60.0, 3.0
MIN_FREE_BYTES = 32 << 20
# A killed daemon is seldom an item's fault, so many interruptions are forgiven; an item that takes the whole machine down
# each time must come to an end nevertheless.
MAX_INTERRUPTIONS = 50


class InputImageGone(IndexdError):
    """A source image of an item is gone, or another image lies at its path."""


class OutputFolderGone(IndexdError):
    """The folder of an item is gone and is not created: its disk may not be mounted."""


@dataclass(frozen=True, slots=True)
class PermanentFailure:
    """The item itself is at fault and is not tried again."""

    error: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The item is tried again after `seconds`; the attempt counts. `pause_queue` holds all items until then."""

    error: str
    seconds: float
    pause_queue: bool = False


@dataclass(frozen=True, slots=True)
class Blocked:
    """A cause outside the item: `is_resolved` says whether it is gone. `check_every_turn`: ask also between the pauses."""

    reason: str
    is_resolved: Callable[[], bool]
    check_every_turn: bool = False


def check_backoff(clock: Callable[[], float]) -> Backoff:
    """The pauses between two checks of a cause."""
    return Backoff(FIRST_CHECK_SECONDS, MAX_CHECK_SECONDS, factor=CHECK_FACTOR, clock=clock)


def decide_retry(error: BaseException, attempts: int) -> PermanentFailure | Retry:
    """What follows from an error of the worker at attempt number `attempts` (1 = the first)."""
    text = f"{error}" if isinstance(error, IndexdError) else f"{type(error).__name__}: {error}"
    if isinstance(error, IndexdError) and not isinstance(error, (WorkerDied, OutOfMemory)):
        return PermanentFailure(text)
    if attempts >= MAX_ATTEMPTS:
        return PermanentFailure(f"{_repeated_failure_text(error, attempts)}: {text}")
    return Retry(text, RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1], pause_queue=isinstance(error, OutOfMemory))


def has_free_space(folder: Path, wanted_bytes: int = 0) -> bool:
    """Whether the disk of `folder` (or of its nearest existing parent) has room for so much and a little more."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free > 2 * wanted_bytes + MIN_FREE_BYTES
    except OSError:
        return False


def _repeated_failure_text(error: BaseException, attempts: int) -> str:
    if isinstance(error, WorkerDied):
        return f"the worker died {attempts} times while making this item, so indexd does not try it again"
    if isinstance(error, OutOfMemory):
        return f"out of memory {attempts} times"
    return f"failed {attempts} times"


class BlockedJobs:
    """Jobs that wait for a missing model file while the others go on. In memory: a new process finds them again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._blocked: dict[int, tuple[Blocked, Backoff]] = {}

    def block(self, job_id: int, blocked: Blocked) -> None:
        """Skip the job until the cause is resolved."""
        if job_id not in self._blocked:
            log.warning("job %d waits: %s", job_id, blocked.reason)
            backoff = check_backoff(self._clock)
            backoff.fail()
            self._blocked[job_id] = (blocked, backoff)

    def check(self, is_finished: Callable[[int], bool]) -> None:
        """Release the jobs that have ended, and where a check is due those whose cause is resolved."""
        for job_id, (blocked, backoff) in list(self._blocked.items()):
            if is_finished(job_id):
                del self._blocked[job_id]
            elif backoff.is_due:
                if blocked.is_resolved():
                    del self._blocked[job_id]
                else:
                    backoff.fail()

    def job_ids(self) -> Collection[int]:
        """The jobs that wait."""
        return self._blocked.keys()

    def reason(self) -> str:
        """Why the job that has waited longest waits."""
        return next(iter(self._blocked.values()))[0].reason

    def seconds_to_check(self) -> float | None:
        """Seconds until the next check; None when no job waits."""
        return min((backoff.seconds_left() for _, backoff in self._blocked.values()), default=None)


@dataclass(slots=True)
class QueuePause:
    """Pauses the queue while a cause lasts. The same cause again, with no item made in between, pauses longer."""

    store: IndexStore
    clock: Callable[[], float]
    _blocked: Blocked | None = None
    _last_reason: str = ""
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._backoff = check_backoff(self.clock)

    @property
    def is_paused(self) -> bool:
        """Whether the queue waits."""
        return self._blocked is not None

    def seconds_to_check(self) -> float:
        """Seconds until the next check of the cause."""
        return self._backoff.seconds_left()

    def pause(self, blocked: Blocked) -> None:
        """Pause the queue for this cause; the ledger records the reason."""
        if blocked.reason != self._last_reason:
            self._backoff.reset()
            log.warning("the queue waits: %s", blocked.reason)
            with contextlib.suppress(StoreUnavailable):
                self.store.events.add("queue_paused", blocked.reason)
        self._backoff.fail()
        self._blocked, self._last_reason = blocked, blocked.reason
        with contextlib.suppress(StoreUnavailable):  # the queue also pauses when the index takes no writes
            self.store.jobs.pause(blocked.reason)

    def check(self) -> None:
        """Resume if the cause is resolved and a check is due."""
        if self._blocked is None:
            return
        is_due = self._backoff.is_due
        if (is_due or self._blocked.check_every_turn) and self._blocked.is_resolved():
            self.resume()
        elif is_due:
            self._backoff.fail()

    def resume(self) -> None:
        """Let the queue go on."""
        if self._blocked is not None:
            log.info("the queue goes on")
        self.store.jobs.pause(None)
        self._blocked = None

    def record_success(self) -> None:
        """An item was made: the next cause is a new one."""
        self._last_reason = ""
        self._backoff.reset()
