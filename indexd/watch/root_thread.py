"""The thread of one watched folder: it sleeps until something is due or a watcher has news."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from indexd.errors import IndexdError, StoreUnavailable, is_transient
from indexd.fs.file_stamp import SettledFile
from indexd.fs.paths import display
from indexd.watch.indexed_files import IndexedFiles
from indexd.watch.root_loop import EventCallback, RootLoop
from indexd.watch.roots import RootStatus, WatchedRoot, WatchOptions
from indexd.watch.settle import NoticeSource
from indexd.watch.watchers.watcher import WatcherFactory, open_watcher

log = logging.getLogger(__name__)

_ERROR_PAUSE_SECONDS = 5.0
_SCAN_POLL_SECONDS = 0.05


class RootThread:
    """Watches one root from `start` to `stop`; a stopped one is not started again.

    `deliver` may block: events are collected meanwhile, everything else of this root waits.
    """

    def __init__(
        self,
        root: WatchedRoot,
        known: IndexedFiles,
        deliver: Callable[[SettledFile], None],
        on_event: EventCallback,
        options: WatchOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        opener: WatcherFactory = open_watcher,
        on_state: Callable[[RootStatus], None] | None = None,
    ) -> None:
        self.root = root
        self._clock = clock
        self._on_state = on_state
        self._notified_state: tuple[object, ...] = ()
        self._notify_not_before = float("-inf")
        self._wake = threading.Condition()
        self._stopping = False
        self._make_loop = partial(
            RootLoop,
            known=known,
            deliver=deliver,
            on_event=on_event,
            options=options,
            wake=self._wake,
            clock=clock,
            opener=opener,
        )
        self._loop = self._make_loop(root)
        self._thread = threading.Thread(target=self._run, name=f"watch-{root.id}", daemon=True)

    def start(self) -> None:
        """Begin: the folder is opened and compared with the index in the background."""
        self._thread.start()

    def stop(self, wait_seconds: float) -> bool:
        """End; a handler in the middle of a file is waited for so long. Whether the thread has ended."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def request_scan(self, reason: str, source: NoticeSource = "missed") -> threading.Event:
        """Compare the whole folder with the index; the event is set when that is done and what it found is settled."""
        ticket = self._loop.request_scan(reason, source)
        if self._stopping or self._thread.ident is None:
            ticket.set()
        return ticket

    def scan_in_caller_thread(self) -> RootStatus:
        """Compare the folder in the caller's thread, without watching it; what grows gets its time to settle.

        Raises IndexdError where the system has no handle to give.
        """
        rounds = self._make_loop(replace(self.root, mode="poll"))
        ticket = rounds.request_scan("one scan, without watching", "scan")
        try:
            while not ticket.is_set():
                pause = rounds.run_once() - self._clock()
                if not ticket.is_set() and pause > 0:
                    time.sleep(min(pause, _SCAN_POLL_SECONDS))
            self._notify_state(rounds.status())
            return rounds.status()
        except OSError as error:
            path = display(self.root.path)
            raise IndexdError(f"{path} cannot be compared with the index: {error}; try again") from error
        finally:
            rounds.close()

    def status(self) -> RootStatus:
        """How the root stands now."""
        return self._loop.status()

    def _run(self) -> None:
        try:
            while not self._stopping:
                due = self._run_once()
                with self._wake:
                    pause = due - self._clock()
                    if pause > 0 and not self._stopping and not self._loop.has_pending_events():
                        self._wake.wait(min(pause, threading.TIMEOUT_MAX))
        finally:
            self._loop.close()

    def _run_once(self) -> float:
        try:
            due = self._loop.run_once()
            self._notify_state(self._loop.status())
        except Exception as error:
            # A root must not fall silent because of one mistake: say so, and compare everything again.
            path = display(self.root.path)
            if isinstance(error, StoreUnavailable):
                log.error("%s waits for the index and is compared again then: %s", path, error)
            elif is_transient(error):
                log.error("%s is compared with the index again in %g s: %s", path, _ERROR_PAUSE_SECONDS, error)
            else:
                log.exception("watching %s went wrong; it is compared with the index again", path)
            return self._recover_from_error()
        return due

    def _recover_from_error(self) -> float:
        self._loop.recover_from_error()
        with self._wake:
            self._wake.wait_for(lambda: self._stopping, _ERROR_PAUSE_SECONDS)
        return self._clock()

    def _notify_state(self, status: RootStatus) -> None:
        if self._on_state is None:
            return
        state = (status.mode, status.reason, status.online, status.identity, status.foreign_root)
        if state == self._notified_state or self._clock() < self._notify_not_before:
            return
        try:
            self._on_state(status)
        except StoreUnavailable as error:
            # Kept in mind until it can be noted: a later start trusts what stands there.
            log.warning("how %s stands cannot be noted: %s", display(self.root.path), error)
            self._notify_not_before = self._clock() + _ERROR_PAUSE_SECONDS
            return
        self._notified_state = state
