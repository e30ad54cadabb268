"""What becomes of a render that is over: a published picture, another attempt, a failure, or a queue that waits."""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from indexd.errors import (
    CallCancelled,
    ModelUnavailable,
    StorageFull,
    StoreUnavailable,
    is_resource_shortage,
    is_transient_os_error,
)
from indexd.jobs.job_lookup import is_finished, require_job
from indexd.jobs.queue.blocked_jobs import BlockedJobs
from indexd.jobs.queue.completion import JobFinisher
from indexd.jobs.queue.pause import QueuePause
from indexd.jobs.queue.render_request import InFlightRender
from indexd.jobs.queue.retry import Blocked, OutputFolderGone, PermanentFailure, Retry, decide_retry, has_free_space
from indexd.jobs.service import JobService
from indexd.store.protocols import IndexStore
from indexd.store.records import JobItemRow
from indexd.worker.calls import Rendered

log = logging.getLogger(__name__)


class RenderResults:
    """The renders that came back, until each is settled. Only the runner's thread uses it."""

    def __init__(
        self,
        store: IndexStore,
        jobs: JobService,
        finisher: JobFinisher,
        pause: QueuePause,
        blocked_jobs: BlockedJobs,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._ledger = store.jobs
        self._jobs = jobs
        self._finisher = finisher
        self._pause = pause
        self._blocked_jobs = blocked_jobs
        self._clock = clock
        self._finished: deque[InFlightRender] = deque()
        self._unpublished: deque[tuple[InFlightRender, Rendered]] = deque()

    @property
    def has_unpublished(self) -> bool:
        """Whether a picture is made that cannot be put in its place now."""
        return bool(self._unpublished)

    @property
    def has_open(self) -> bool:
        """Whether anything that is over is not settled or not published."""
        return bool(self._finished or self._unpublished)

    def add(self, ended: Iterable[InFlightRender]) -> None:
        """Their calls are over."""
        self._finished.extend(ended)

    def settle(self) -> None:
        """Settle what is over. One that the ledger has no room for stays, and is settled when there is room again."""
        while self._finished:
            self._settle_one(self._finished[0])
            self._finished.popleft()

    def publish(self) -> None:
        """Put what came back in its place; what cannot be put there now is kept and the queue waits."""
        while self._unpublished:
            hand, rendered = self._unpublished[0]
            if not self._publish_one(hand, rendered):
                return
            self._unpublished.popleft()
            self._finisher.mark_changed(hand.item.job_id)

    def requeue(self, render: InFlightRender) -> None:
        """The render was not made after all; the attempt is un-counted."""
        with self._jobs.lock:
            if not self.is_cancelled(render):
                self._ledger.requeue_item(render.item.id)

    def requeue_unpublished(self) -> None:
        """What could not be put in its place is made again by the next process."""
        for hand, _rendered in self._unpublished:
            self.requeue(hand)

    def is_cancelled(self, render: InFlightRender) -> bool:
        """Whether nobody wants the picture any more."""
        return require_job(self._ledger, render.item.job_id).state == "cancelled"

    def _settle_one(self, render: InFlightRender) -> None:
        """What became of one render."""
        try:
            rendered: Rendered = render.call.result(0)
        except CallCancelled:
            self.requeue(render)
        except Exception as error:
            self._handle_error(render, error)
        else:
            self._unpublished.append((render, rendered))

    def _handle_error(self, render: InFlightRender, error: Exception) -> None:
        item = render.item
        self._finisher.mark_changed(item.job_id)
        with self._jobs.lock:
            if self.is_cancelled(render):
                return
            missing = render.request.missing_model()
            if missing is not None or isinstance(error, (ModelUnavailable, StorageFull)) or is_resource_shortage(error):
                self._ledger.requeue_item(item.id)
                self._block_or_pause(render, error, missing)
                return
            verdict = decide_retry(error, render.attempt)
            where = f"job {item.job_id}, picture {item.index + 1}"
            if isinstance(verdict, PermanentFailure):
                log.error("%s failed: %s", where, verdict.error)
                self._ledger.mark_item_failed(item.id, verdict.error, retry_at=None)
                return
            log.warning("%s: %s; trying again in %g s", where, verdict.error, verdict.seconds)
            self._schedule_retry(item, verdict)

    def _schedule_retry(self, item: JobItemRow, verdict: Retry) -> None:
        due = self._clock() + verdict.seconds
        self._ledger.mark_item_failed(item.id, verdict.error, retry_at=due)
        if verdict.pause_queue:
            reason = f"{verdict.error} (job {item.job_id}, picture {item.index + 1}); trying again soon"
            self._pause_queue(reason, lambda: self._clock() >= due)

    def _block_or_pause(self, render: InFlightRender, error: Exception, missing: Path | None) -> None:
        if isinstance(error, StorageFull):
            self._pause_queue(str(error), lambda: has_free_space(self._store.path.parent))
        elif missing is not None:
            job_id, there = render.item.job_id, missing.exists
            setback = Blocked(
                f"the model {missing} is gone; put it back or cancel job {job_id}",
                lambda: there() or is_finished(self._ledger, job_id),
            )
            self._blocked_jobs.block(job_id, setback, self._clock())
        else:
            text = f"{error}; or cancel job {render.item.job_id}"
            self._pause_queue(text, lambda: True)  # nothing to look at; the next render will tell

    def _publish_one(self, render: InFlightRender, rendered: Rendered) -> bool:
        item, folder = render.item, render.request.folder
        with self._jobs.lock:
            if self.is_cancelled(render):
                return True
            try:
                published = self._jobs.publisher.publish(item, render.request.call.recipe, rendered, render.seconds)
            except StorageFull as error:
                room = len(rendered.png)
                self._pause_queue(
                    str(error),
                    lambda: has_free_space(folder, room) and has_free_space(self._store.path.parent),
                )
                return False
            except StoreUnavailable as error:
                self._pause_queue(str(error), lambda: True)
                return False
            except OutputFolderGone as error:
                self._pause_queue(
                    str(error),
                    lambda: folder.is_dir() or folder.parent.is_dir() or is_finished(self._ledger, item.job_id),
                )
                return False
            except OSError as error:
                if error.errno == errno.EROFS:
                    reason = (
                        f"the disk of {folder} has become read-only; mount it for writing or cancel job {item.job_id}"
                    )
                    self._pause_queue(
                        reason, lambda: os.access(folder, os.W_OK) or is_finished(self._ledger, item.job_id)
                    )
                    return False
                if is_transient_os_error(error):
                    # The picture is made, and neither it nor the job is to blame: the next turn will tell.
                    self._pause_queue(f"{error}; or cancel job {item.job_id}", lambda: True)
                    return False
                self._handle_error(render, error)
                return True
        self._pause.record_success()
        log.info("job %d, picture %d: %s (%.2f s)", item.job_id, item.index + 1, published.path, render.seconds)
        return True

    def _pause_queue(self, reason: str, is_resolved: Callable[[], bool]) -> None:
        self._pause.pause(Blocked(reason, is_resolved), self._clock())
