"""Sends the keep-alive of the service manager's watchdog, and stops sending when a queue does not move any more.

systemd restarts the daemon when no keep-alive came for `WatchdogSec`. A running process is not enough for one: every
thread that moves a queue must have taken a turn lately; see `indexd.liveness`.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from indexd.background.background_service import BackgroundService
from indexd.errors import IndexdError
from indexd.liveness import Liveness
from indexd.service.sd_notify import sd_notify

log = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 15.0
# Counting pending work is slow in a large index that is being filled; it may take one part in so many of the time.
STATUS_SHARE = 200


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """The interval in which the manager expects keep-alives; None where it has no watchdog. See sd_watchdog_enabled(3)."""
    microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) <= 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6


class Watchdog(BackgroundService):
    """Checks the threads' liveness in a thread of its own.

    `status` gives the status line to show. `on_stuck` is called when a queue stands still and the manager has no watchdog.
    """

    def __init__(
        self,
        thread_liveness: Sequence[Liveness],
        status: Callable[[], str],
        on_stuck: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("watchdog")
        self._thread_liveness = thread_liveness
        self._status = status
        self._watchdog_seconds = watchdog_seconds()
        self._on_stuck = on_stuck if self._watchdog_seconds is None else None
        self._clock = clock
        self._shown_status = ""
        self._status_due = float("-inf")
        self._stuck: set[str] = set()

    def run_once(self) -> float:
        """Check once; returns the seconds until the next check."""
        self.check()
        if self._watchdog_seconds is None:
            return CHECK_INTERVAL_SECONDS
        return min(CHECK_INTERVAL_SECONDS, self._watchdog_seconds / 4)

    def check(self) -> bool:
        """Check every thread, and send the keep-alive when none is overdue; returns whether that is so."""
        late = {one.name: owed for one in self._thread_liveness if (owed := one.check_overdue()) is not None}
        for name in sorted(set(late) - self._stuck):
            log.critical("%s has not moved for %.0f s; the stacks of all threads:", name, late[name])
        if set(late) - self._stuck:
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        for name in sorted(self._stuck - set(late)):
            log.warning("%s moves again", name)
        self._stuck = set(late)
        if late:
            sd_notify(STATUS=f"stuck: {', '.join(sorted(late))}")
            self._shown_status = ""
            if self._on_stuck is not None:
                self._on_stuck()
            return False
        sd_notify(WATCHDOG="1")
        self._update_status()
        return True

    def _update_status(self) -> None:
        began = self._clock()
        if began < self._status_due:
            return
        try:
            line = self._status()
        except IndexdError as error:
            line = str(error)
        took = self._clock() - began
        self._status_due = began + took * STATUS_SHARE
        if line != self._shown_status:
            sd_notify(STATUS=line)
            self._shown_status = line
