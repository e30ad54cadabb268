"""The thread of one watched folder: it sleeps until something is due or a watcher has hints."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

from indexd.background.background_service import BackgroundService
from indexd.background.backoff import Backoff
from indexd.errors import IndexdError, StoreUnavailable, is_transient
from indexd.fs.paths import display
from indexd.watch.root_context import RootContext
from indexd.watch.root_loop import RootLoop
from indexd.watch.roots import RootStatus, WatchedRoot
from indexd.watch.settle import NoticeSource

log = logging.getLogger(__name__)

_ERROR_PAUSE_SECONDS = 5.0
_SCAN_POLL_SECONDS = 0.05


class RootThread(BackgroundService):
    """Watches one root from `start` to `stop`.

    While `deliver` blocks, events are still collected; everything else of this root waits.
    """

    def __init__(self, root: WatchedRoot, context: RootContext) -> None:
        super().__init__(f"watch-{root.id}", retry=Backoff(_ERROR_PAUSE_SECONDS))
        self.root = root
        self._context = context
        self._clock = context.clock
        self._notified_state: tuple[object, ...] = ()
        self._notify_retry = Backoff(_ERROR_PAUSE_SECONDS, clock=context.clock)
        self._loop = RootLoop(root, context, self.wake)

    def request_scan(self, reason: str, source: NoticeSource = "missed") -> threading.Event:
        """Scan the whole folder; the event is set when that is done and the files it found are settled."""
        ticket = self._loop.request_scan(reason, source)
        if self.is_stopping or not self.is_started:
            ticket.set()
        return ticket

    def scan_in_caller_thread(self) -> RootStatus:
        """Scan the folder in the caller's thread, without watching it; files still being written get time to settle.

        Raises IndexdError where the system has no file handle left.
        """
        loop = RootLoop(replace(self.root, mode="poll"), self._context, self.wake)
        ticket = loop.request_scan("one scan, without watching", "scan")
        try:
            while not ticket.is_set():
                pause = loop.run_once() - self._clock()
                if not ticket.is_set() and pause > 0:
                    time.sleep(min(pause, _SCAN_POLL_SECONDS))
            self._notify_state(loop.status())
            return loop.status()
        except OSError as error:
            path = display(self.root.path)
            raise IndexdError(f"{path} cannot be compared with the index: {error}; try again") from error
        finally:
            loop.close()

    def status(self) -> RootStatus:
        """The status of the root now."""
        return self._loop.status()

    def run_once(self) -> float:
        """Do one round of the root."""
        due = self._loop.run_once()
        self._notify_state(self._loop.status())
        return max(0.0, due - self._clock())

    def finish(self) -> None:
        """Stop the watcher."""
        self._loop.close()

    def is_retryable(self, error: Exception) -> bool:  # noqa: ARG002 - overrides
        """Every error: a root must not fall silent because of one bug."""
        return True

    def on_retry(self, error: Exception, pause_seconds: float) -> None:
        """Log the error, and have the whole root scanned again."""
        path = display(self.root.path)
        if isinstance(error, StoreUnavailable):
            log.error("%s waits for the index and is compared again then: %s", path, error)
        elif is_transient(error):
            log.error("%s is compared with the index again in %g s: %s", path, pause_seconds, error)
        else:
            log.error("watching %s went wrong; it is compared with the index again", path, exc_info=error)
        self._loop.recover_from_error()

    def _notify_state(self, status: RootStatus) -> None:
        state = (status.mode, status.reason, status.online, status.identity, status.foreign_root)
        if state == self._notified_state or not self._notify_retry.is_due:
            return
        try:
            self._context.on_state(status)
        except StoreUnavailable as error:
            # Tried again until it is stored: a later start trusts the stored status.
            log.warning("the status of %s cannot be stored: %s", display(self.root.path), error)
            self._notify_retry.fail()
            return
        self._notify_retry.reset()
        self._notified_state = state
