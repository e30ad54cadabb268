"""The thread of one watched folder: it sleeps until something is due or a watcher has news."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from indexd.errors import IndexdError, StoreUnavailable, may_pass
from indexd.watch.known import KnownFiles
from indexd.watch.paths import display
from indexd.watch.roots import RootStatus, WatchedRoot, WatchOptions
from indexd.watch.rounds import OnEvent, RootRounds
from indexd.watch.settle import Source
from indexd.watch.stamp import SettledFile
from indexd.watch.watcher import OpenWatcher, open_watcher

log = logging.getLogger(__name__)

_MISTAKE_PAUSE_SECONDS = 5.0
_TURN_SECONDS = 0.05


class RootWatch:
    """Watches one root from `start` to `stop`; a stopped one is not started again.

    `deliver` may block: events are collected meanwhile, everything else of this root waits.
    """

    def __init__(
        self,
        root: WatchedRoot,
        known: KnownFiles,
        deliver: Callable[[SettledFile], None],
        on_event: OnEvent,
        options: WatchOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        opener: OpenWatcher = open_watcher,
        on_state: Callable[[RootStatus], None] | None = None,
    ) -> None:
        self.root = root
        self._clock = clock
        self._on_state = on_state
        self._told: tuple[object, ...] = ()
        self._tell_at = float("-inf")
        self._wake = threading.Condition()
        self._stopping = False
        self._make_rounds = partial(
            RootRounds,
            known=known,
            deliver=deliver,
            on_event=on_event,
            options=options,
            wake=self._wake,
            clock=clock,
            opener=opener,
        )
        self._rounds = self._make_rounds(root)
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

    def request_scan(self, why: str, source: Source = "missed") -> threading.Event:
        """Compare the whole folder with the index; the event is set when that is done and what it found is settled."""
        ticket = self._rounds.request(why, source)
        if self._stopping or self._thread.ident is None:
            ticket.set()
        return ticket

    def scan_here(self) -> RootStatus:
        """Compare the folder in the caller's thread, without watching it; what grows gets its time to settle.

        Raises IndexdError where the system has no handle to give.
        """
        rounds = self._make_rounds(replace(self.root, mode="poll"))
        ticket = rounds.request("one scan, without watching", "scan")
        try:
            while not ticket.is_set():
                pause = rounds.turn() - self._clock()
                if not ticket.is_set() and pause > 0:
                    time.sleep(min(pause, _TURN_SECONDS))
            self._tell(rounds.status())
            return rounds.status()
        except OSError as error:
            path = display(self.root.path)
            raise IndexdError(f"{path} cannot be compared with the index: {error}; try again") from error
        finally:
            rounds.close()

    def status(self) -> RootStatus:
        """How the root stands now."""
        return self._rounds.status()

    def _run(self) -> None:
        try:
            while not self._stopping:
                due = self._turn()
                with self._wake:
                    pause = due - self._clock()
                    if pause > 0 and not self._stopping and not self._rounds.has_news():
                        self._wake.wait(min(pause, threading.TIMEOUT_MAX))
        finally:
            self._rounds.close()

    def _turn(self) -> float:
        try:
            due = self._rounds.turn()
            self._tell(self._rounds.status())
        except Exception as error:
            # A root must not fall silent because of one mistake: say so, and compare everything again.
            path = display(self.root.path)
            if isinstance(error, StoreUnavailable):
                log.error("%s waits for the index and is compared again then: %s", path, error)
            elif may_pass(error):
                log.error("%s is compared with the index again in %g s: %s", path, _MISTAKE_PAUSE_SECONDS, error)
            else:
                log.exception("watching %s went wrong; it is compared with the index again", path)
            return self._after_mistake()
        return due

    def _after_mistake(self) -> float:
        self._rounds.recover_from_mistake()
        with self._wake:
            self._wake.wait_for(lambda: self._stopping, _MISTAKE_PAUSE_SECONDS)
        return self._clock()

    def _tell(self, status: RootStatus) -> None:
        if self._on_state is None:
            return
        state = (status.mode, status.reason, status.online, status.identity, status.stranger)
        if state == self._told or self._clock() < self._tell_at:
            return
        try:
            self._on_state(status)
        except StoreUnavailable as error:
            # Kept in mind until it can be noted: a later start trusts what stands there.
            log.warning("how %s stands cannot be noted: %s", display(self.root.path), error)
            self._tell_at = self._clock() + _MISTAKE_PAUSE_SECONDS
            return
        self._told = state
