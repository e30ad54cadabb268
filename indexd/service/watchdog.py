"""The loop that feeds the service manager's watchdog, and stops feeding when a queue does not move any more.

systemd restarts the daemon when it was not fed for `WatchdogSec`. What is fed on is not that the process breathes but
that every thread which moves a queue has taken a turn lately; see `indexd.liveness`.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from indexd.errors import IndexdError
from indexd.liveness import Liveness
from indexd.service.sd_notify import sd_notify

log = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 15.0
# Counting what waits takes long in a large index that is being filled; of the time it takes at most one part in so many.
STATUS_SHARE = 200


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """The time within which the manager wants to be fed, or None where none watches us; see sd_watchdog_enabled(3)."""
    microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) <= 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6


class Watchdog:
    """Beats in a thread of its own between `start` and `stop`.

    `status` gives the line to show. `give_up` is called when a queue stands still and no watchdog is there to act on it.
    """

    def __init__(
        self,
        thread_liveness: Sequence[Liveness],
        status: Callable[[], str],
        on_stuck: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._thread_liveness = thread_liveness
        self._status = status
        self._watchdog_seconds = watchdog_seconds()
        self._on_stuck = on_stuck if self._watchdog_seconds is None else None
        self._clock = clock
        self._shown_status = ""
        self._status_due = float("-inf")
        self._stuck: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; harmless when it never began."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self) -> bool:
        """Look at every pulse, and feed the watchdog when all is well. Whether it was."""
        late = {pulse.name: owed for pulse in self._thread_liveness if (owed := pulse.check_overdue()) is not None}
        for name in sorted(set(late) - self._stuck):
            log.critical("%s has not moved for %.0f s; where every thread stands:", name, late[name])
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

    def _run(self) -> None:
        every = (
            CHECK_INTERVAL_SECONDS
            if self._watchdog_seconds is None
            else min(CHECK_INTERVAL_SECONDS, self._watchdog_seconds / 4)
        )
        while True:
            self.check()
            if self._stopping.wait(every):
                return
