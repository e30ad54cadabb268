"""Sends keep-alives to the watchdog of the service manager while no thread of the daemon is stuck.

systemd restarts the daemon when it receives no keep-alive for `WatchdogSec`. A keep-alive requires that every thread that
processes a queue has reported recently; see `indexd.liveness`.
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
# Counting pending tasks is slow in a large index. At most 1 / STATUS_SHARE of the time is spent on it.
STATUS_SHARE = 200


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """The timeout of the manager for keep-alives; None without a watchdog. See sd_watchdog_enabled(3)."""
    microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) <= 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6


class Watchdog(BackgroundService):
    """Checks the liveness of the other threads in its own thread.

    `status` returns the status line. `on_stuck` is called when a thread is stuck and the manager has no watchdog.
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
        """Check all threads, and send a keep-alive if none is stuck. Returns whether it was sent."""
        overdue = {one.name: seconds for one in self._thread_liveness if (seconds := one.check_overdue()) is not None}
        for name in sorted(set(overdue) - self._stuck):
            log.critical("%s has not moved for %.0f s; the stacks of all threads:", name, overdue[name])
        if set(overdue) - self._stuck:
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        for name in sorted(self._stuck - set(overdue)):
            log.warning("%s moves again", name)
        self._stuck = set(overdue)
        if overdue:
            sd_notify(STATUS=f"stuck: {', '.join(sorted(overdue))}")
            self._shown_status = ""
            if self._on_stuck is not None:
                self._on_stuck()
            return False
        sd_notify(WATCHDOG="1")
        self._update_status()
        return True

    def _update_status(self) -> None:
        started = self._clock()
        if started < self._status_due:
            return
        try:
            line = self._status()
        except IndexdError as error:
            line = str(error)
        duration = self._clock() - started
        self._status_due = started + duration * STATUS_SHARE
        if line != self._shown_status:
            sd_notify(STATUS=line)
            self._shown_status = line
