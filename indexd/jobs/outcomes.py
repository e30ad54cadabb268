"""What becomes of a render that is over: a published picture, another attempt, a failure, or a queue that waits."""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from indexd.errors import CallCancelled, ModelOff, StorageFull, StoreUnavailable, is_machines_fault, is_shortage
from indexd.jobs.absent import AbsentModels
from indexd.jobs.closing import Closing
from indexd.jobs.facade import Jobs
from indexd.jobs.hand import Hand
from indexd.jobs.queue_pause import QueuePause
from indexd.jobs.rows import is_over, known_job
from indexd.jobs.setbacks import Again, Failed, FolderGone, Setback, disk_has_room, judge
from indexd.store.index import Store
from indexd.store.records import ItemRow
from indexd.worker.calls import Rendered

log = logging.getLogger(__name__)


class Outcomes:
    """The renders that came back, until each is settled. Only the runner's thread uses it."""

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        closing: Closing,
        pause: QueuePause,
        absent: AbsentModels,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._ledger = store.jobs
        self._jobs = jobs
        self._closing = closing
        self._pause = pause
        self._absent = absent
        self._clock = clock
        self._over: deque[Hand] = deque()
        self._unpublished: deque[tuple[Hand, Rendered]] = deque()

    @property
    def unpublished(self) -> bool:
        """Whether a picture is made that cannot be put in its place now."""
        return bool(self._unpublished)

    @property
    def open(self) -> bool:
        """Whether anything that is over is not settled or not published."""
        return bool(self._over or self._unpublished)

    def take(self, ended: Iterable[Hand]) -> None:
        """Their calls are over."""
        self._over.extend(ended)

    def settle(self) -> None:
        """Settle what is over. One that the ledger has no room for stays, and is settled when there is room again."""
        while self._over:
            self._settle(self._over[0])
            self._over.popleft()

    def publish(self) -> None:
        """Put what came back in its place; what cannot be put there now is kept and the queue waits."""
        while self._unpublished:
            hand, rendered = self._unpublished[0]
            if not self._publish_one(hand, rendered):
                return
            self._unpublished.popleft()
            self._closing.look_at(hand.item.job_id)

    def give_back(self, hand: Hand) -> None:
        """The render was not made after all; the attempt is un-counted."""
        with self._jobs.lock:
            if not self.is_cancelled(hand):
                self._ledger.give_back(hand.item.id)

    def give_back_unpublished(self) -> None:
        """What could not be put in its place is made again by the next process."""
        for hand, _rendered in self._unpublished:
            self.give_back(hand)

    def is_cancelled(self, hand: Hand) -> bool:
        """Whether nobody wants the picture any more."""
        return known_job(self._ledger, hand.item.job_id).state == "cancelled"

    def _settle(self, hand: Hand) -> None:
        """What became of one render."""
        try:
            rendered: Rendered = hand.call.result(0)
        except CallCancelled:
            self.give_back(hand)
        except Exception as error:
            self._failed(hand, error)
        else:
            self._unpublished.append((hand, rendered))

    def _failed(self, hand: Hand, error: Exception) -> None:
        item = hand.item
        self._closing.look_at(item.job_id)
        with self._jobs.lock:
            if self.is_cancelled(hand):
                return
            missing = hand.order.missing()
            if missing is not None or isinstance(error, (ModelOff, StorageFull)) or is_shortage(error):
                self._ledger.give_back(item.id)
                self._machine_at_fault(hand, error, missing)
                return
            verdict = judge(error, hand.attempt)
            where = f"job {item.job_id}, picture {item.index + 1}"
            if isinstance(verdict, Failed):
                log.error("%s failed: %s", where, verdict.error)
                self._ledger.item_failed(item.id, verdict.error, retry_at=None)
                return
            log.warning("%s: %s; trying again in %g s", where, verdict.error, verdict.seconds)
            self._try_again(item, verdict)

    def _try_again(self, item: ItemRow, verdict: Again) -> None:
        due = self._clock() + verdict.seconds
        self._ledger.item_failed(item.id, verdict.error, retry_at=due)
        if verdict.pause:
            reason = f"{verdict.error} (job {item.job_id}, picture {item.index + 1}); trying again soon"
            self._set_back(reason, lambda: self._clock() >= due)

    def _machine_at_fault(self, hand: Hand, error: Exception, missing: Path | None) -> None:
        if isinstance(error, StorageFull):
            self._set_back(str(error), lambda: disk_has_room(self._store.path.parent))
        elif missing is not None:
            job_id, there = hand.item.job_id, missing.exists
            setback = Setback(
                f"the model {missing} is gone; put it back or cancel job {job_id}",
                lambda: there() or is_over(self._ledger, job_id),
            )
            self._absent.hold(job_id, setback, self._clock())
        else:
            text = f"{error}; or cancel job {hand.item.job_id}"
            self._set_back(text, lambda: True)  # nothing to look at; the next render will tell

    def _publish_one(self, hand: Hand, rendered: Rendered) -> bool:
        item, folder = hand.item, hand.order.folder
        with self._jobs.lock:
            if self.is_cancelled(hand):
                return True
            try:
                published = self._jobs.publisher.publish(item, hand.order.recipe, rendered, hand.seconds)
            except StorageFull as error:
                room = len(rendered.png)
                self._set_back(
                    str(error),
                    lambda: disk_has_room(folder, room) and disk_has_room(self._store.path.parent),
                )
                return False
            except StoreUnavailable as error:
                self._set_back(str(error), lambda: True)
                return False
            except FolderGone as error:
                self._set_back(
                    str(error), lambda: folder.is_dir() or folder.parent.is_dir() or is_over(self._ledger, item.job_id)
                )
                return False
            except OSError as error:
                if error.errno == errno.EROFS:
                    reason = (
                        f"the disk of {folder} has become read-only; mount it for writing or cancel job {item.job_id}"
                    )
                    self._set_back(reason, lambda: os.access(folder, os.W_OK) or is_over(self._ledger, item.job_id))
                    return False
                if is_machines_fault(error):
                    # The picture is made, and neither it nor the job is to blame: the next turn will tell.
                    self._set_back(f"{error}; or cancel job {item.job_id}", lambda: True)
                    return False
                self._failed(hand, error)
                return True
        self._pause.worked()
        log.info("job %d, picture %d: %s (%.2f s)", item.job_id, item.index + 1, published.path, hand.seconds)
        return True

    def _set_back(self, reason: str, cured: Callable[[], bool]) -> None:
        self._pause.set_back(Setback(reason, cured), self._clock())
