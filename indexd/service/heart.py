"""The loop that feeds the service manager's watchdog, and stops feeding when a queue does not move any more.

systemd restarts the daemon when it was not fed for `WatchdogSec`. What is fed on is not that the process breathes but
that every thread which moves a queue has taken a turn lately; see `indexd.pulse`.
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
from indexd.pulse import Pulse
from indexd.service.notify import notify

log = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
# Counting what waits takes long in a large index that is being filled; of the time it takes at most one part in so many.
STATUS_SHARE = 200


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """The time within which the manager wants to be fed, or None where none watches us; see sd_watchdog_enabled(3)."""
    microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) <= 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6


class Heart:
    """Beats in a thread of its own between `start` and `stop`.

    `status` gives the line to show. `give_up` is called when a queue stands still and no watchdog is there to act on it.
    """

    def __init__(
        self,
        pulses: Sequence[Pulse],
        status: Callable[[], str],
        give_up: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulses = pulses
        self._status = status
        self._watchdog = watchdog_seconds()
        self._give_up = give_up if self._watchdog is None else None
        self._clock = clock
        self._shown = ""
        self._status_due = float("-inf")
        self._late: set[str] = set()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; harmless when it never began."""
        self._leaving.set()
        if self._thread.ident is not None:
            self._thread.join()

    def beat(self) -> bool:
        """Look at every pulse, and feed the watchdog when all is well. Whether it was."""
        late = {pulse.name: owed for pulse in self._pulses if (owed := pulse.late()) is not None}
        for name in sorted(set(late) - self._late):
            log.critical("%s has not moved for %.0f s; where every thread stands:", name, late[name])
        if set(late) - self._late:
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        for name in sorted(self._late - set(late)):
            log.warning("%s moves again", name)
        self._late = set(late)
        if late:
            notify(STATUS=f"stuck: {', '.join(sorted(late))}")
            self._shown = ""
            if self._give_up is not None:
                self._give_up()
            return False
        notify(WATCHDOG="1")
        self._show()
        return True

    def _show(self) -> None:
        began = self._clock()
        if began < self._status_due:
            return
        try:
            line = self._status()
        except IndexdError as error:
            line = str(error)
        took = self._clock() - began
        self._status_due = began + took * STATUS_SHARE
        if line != self._shown:
            notify(STATUS=line)
            self._shown = line

    def _run(self) -> None:
        every = BEAT_SECONDS if self._watchdog is None else min(BEAT_SECONDS, self._watchdog / 4)
        while True:
            self.beat()
            if self._leaving.wait(every):
                return
