"""One lane: the calls that wait for one device, and the child process that serves them while there are any.

A thread per lane owns the child from birth to death; `submit` and `cancel` may come from any thread. Nothing polls: the
thread sleeps on a condition while there is nothing to do, and on the child's pipe while there is.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import pickle
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from indexd.errors import CallCancelled, CallTimedOut, WorkerDied
from indexd.worker import child, wire
from indexd.worker.calls import Priority, WorkerSettings
from indexd.worker.ending import ending
from indexd.worker.handle import Call, LaneStatus, OnProgress

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

log = logging.getLogger(__name__)

FRUITLESS_STARTS = 3
"""After so many children in a row that died before they began anything, the waiting calls fail instead of trying on."""

OnEvent = Callable[[str, str], None]


@dataclass(slots=True)
class _Flight:
    """A call on its way. `message` is its pickled form; `sign_at` is when it last gave a sign of life."""

    call: Call
    number: int
    message: bytes
    on_progress: OnProgress | None
    timeout_seconds: float | None
    begun: bool = False
    sign_at: float = 0.0

    def deadline(self) -> float | None:
        if not self.begun or self.timeout_seconds is None:
            return None
        return self.sign_at + self.timeout_seconds


class Lane:
    """The calls of one device and their process."""

    def __init__(self, name: str, settings: WorkerSettings, on_event: OnEvent) -> None:
        self._name = name
        self._settings = settings
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._condition = threading.Condition()
        # All below is guarded by the condition's lock.
        self._flights: dict[int, _Flight] = {}
        self._outbox: queue.SimpleQueue[bytes | None] | None = None
        self._process: SpawnProcess | None = None
        self._residents: tuple[float, dict[str, float]] = (0.0, {})
        self._deaths = 0
        self._fruitless = 0
        self._leaving = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def submit(
        self, call: Any, priority: Priority, on_progress: OnProgress | None, timeout_seconds: float | None
    ) -> Call:
        """Take a call; a child is started for it if there is none."""
        number = next(self._numbers)
        handle = Call(call, lambda: self._cancel(number))
        # Pickled here, so that a call that cannot cross raises where it was made and never spoils the lane.
        message = pickle.dumps(wire.Do(number, int(priority), call), pickle.HIGHEST_PROTOCOL)
        with self._condition:
            if self._stopping:
                handle.fail(CallCancelled("indexd is stopping and takes no more calls"))
                return handle
            self._flights[number] = _Flight(handle, number, message, on_progress, timeout_seconds)
            if self._outbox is not None:
                self._outbox.put(message)
            if self._thread is None:
                self._thread = threading.Thread(target=self._supervise, name=f"lane-{self._name}", daemon=True)
                self._thread.start()
            self._condition.notify_all()
        return handle

    def status(self) -> LaneStatus:
        """How the lane stands."""
        with self._condition:
            process = self._process
            told_at, models = self._residents
            older = time.monotonic() - told_at
            begun = sum(flight.begun for flight in self._flights.values())
            return LaneStatus(
                lane=self._name,
                pid=process.pid if process else None,
                alive=process is not None,
                deaths=self._deaths,
                queued=len(self._flights) - begun,
                running=begun,
                models={role: idle + older for role, idle in models.items()},
            )

    def begin_stop(self) -> None:
        """Give up what was not begun; let the child finish what was and leave."""
        with self._condition:
            self._stopping = True
            waiting = [flight for flight in self._flights.values() if not flight.begun]
            for flight in waiting:
                del self._flights[flight.number]
            if self._outbox is not None:
                self._outbox.put(pickle.dumps(wire.Stop()))
            self._condition.notify_all()
        for flight in waiting:
            flight.call.fail(CallCancelled("indexd is stopping; the call was not begun"))

    def join(self, seconds: float) -> None:
        """After `begin_stop`: wait so long for what is begun, then end the process."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
            self.kill()
            self._thread.join()

    def kill(self) -> None:
        """End the process now; a call in hand fails."""
        with self._condition:
            if self._process is not None:
                self._process.kill()

    def _cancel(self, number: int) -> None:
        with self._condition:
            flight = self._flights.get(number)
            if flight is None:
                return
            if not flight.begun:
                del self._flights[number]
            if self._outbox is not None:
                self._outbox.put(pickle.dumps(wire.Cancel(number)))
        if not flight.begun:
            flight.call.fail(CallCancelled("cancelled before it was begun"))

    def _supervise(self) -> None:
        while True:
            with self._condition:
                while not self._flights and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    left = list(self._flights.values())
                    self._flights.clear()
                    break
            self._attend()
        for flight in left:
            flight.call.fail(CallCancelled("indexd is stopping; the call was not finished"))

    def _attend(self) -> None:
        """One child from birth to death."""
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(
            target=child.main, args=(theirs, self._name, self._settings), name=f"indexd-{self._name}", daemon=True
        )
        try:
            process.start()
        except OSError as error:
            ours.close()
            theirs.close()
            self._fail_all(WorkerDied(f"a worker for the {self._name} lane cannot be started: {error}"))
            return
        theirs.close()
        outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # Sending has a thread of its own: a child that hangs does not read, and its time limit must still be kept.
        sender = threading.Thread(target=_send_all, args=(ours, outbox), name=f"lane-{self._name}-send", daemon=True)
        with self._condition:
            self._process, self._outbox, self._leaving = process, outbox, False
            for flight in self._flights.values():
                outbox.put(flight.message)
            if self._stopping:
                outbox.put(pickle.dumps(wire.Stop()))
        sender.start()
        log.debug("%s worker started, pid %s", self._name, process.pid)
        overdue: list[_Flight] = []
        try:
            overdue = self._listen(ours)
        finally:
            process.kill()
            process.join()
            outbox.put(None)
            sender.join()
            ours.close()
            self._settle(process.exitcode, overdue)

    def _listen(self, connection: Connection) -> list[_Flight]:
        """Handle what the child says until it is gone, or until calls are overdue: those are returned."""
        while True:
            with self._condition:
                deadlines = [limit for flight in self._flights.values() if (limit := flight.deadline()) is not None]
            timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            if wait([connection], timeout):
                try:
                    message: wire.FromChild = connection.recv()
                except (EOFError, OSError):
                    return []
                self._hear(message)
            elif overdue := self._overdue(time.monotonic()):
                return overdue

    def _overdue(self, now: float) -> list[_Flight]:
        with self._condition:
            return [f for f in self._flights.values() if (limit := f.deadline()) is not None and limit <= now]

    def _hear(self, message: wire.FromChild) -> None:
        match message:
            case wire.Begun(number):
                self._sign(number, begun=True)
            case wire.Told(number, progress):
                flight = self._sign(number)
                if flight is not None and flight.on_progress is not None:
                    try:
                        flight.on_progress(progress)
                    except Exception:
                        log.exception("a listener to the progress of a %s failed", type(flight.call.call).__name__)
            case wire.Finished(number, result):
                if (flight := self._land(number)) is not None:
                    flight.call.finish(result)
            case wire.Failed(number, error):
                if (flight := self._land(number)) is not None:
                    flight.call.fail(error)
            case wire.Residents(models):
                with self._condition:
                    self._residents = (time.monotonic(), dict(models))
            case wire.Leaving():
                with self._condition:
                    self._leaving, self._outbox = True, None
            case wire.Logged(level, logger, text):
                logging.getLogger(logger).log(level, "%s", text)

    def _sign(self, number: int, *, begun: bool = False) -> _Flight | None:
        with self._condition:
            if begun:
                self._fruitless = 0
            flight = self._flights.get(number)
            if flight is not None:
                flight.begun = flight.begun or begun
                flight.sign_at = time.monotonic()
            return flight

    def _land(self, number: int) -> _Flight | None:
        with self._condition:
            return self._flights.pop(number, None)

    def _settle(self, exit_code: int | None, overdue: list[_Flight]) -> None:
        """The child is gone: fail what it took with it; what it had not begun stays for the next one."""
        with self._condition:
            self._process, self._outbox, self._residents = None, None, (0.0, {})
            lost = overdue or [flight for flight in self._flights.values() if flight.begun]
            died = not self._leaving and not self._stopping
            if died:
                self._deaths += 1
                if self._flights:
                    self._fruitless = 0 if lost else self._fruitless + 1
                if self._fruitless >= FRUITLESS_STARTS:
                    lost = list(self._flights.values())
            for flight in lost:
                self._flights.pop(flight.number, None)
            # Only after a time limit are there others in hand: they were served in the same process, and are not to blame.
            for flight in self._flights.values():
                flight.begun = False
        if not died:
            for flight in lost:
                flight.call.fail(CallCancelled("indexd is stopping; the call was not finished"))
            return
        for flight in lost:
            flight.call.fail(self._cause(flight, exit_code, overdue))
        what = "was ended because a call hung" if overdue else ending(exit_code)
        self._on_event("worker_died", f"the {self._name} worker {what}; {len(lost)} calls were lost")

    def _cause(self, flight: _Flight, exit_code: int | None, overdue: list[_Flight]) -> WorkerDied:
        kind = type(flight.call.call).__name__
        if flight in overdue:
            return CallTimedOut(f"{kind} gave no sign of life for {flight.timeout_seconds:g} s; its worker was ended")
        held = "while it held this call" if flight.begun else f"{FRUITLESS_STARTS} times before it could begin anything"
        return WorkerDied(f"the {self._name} worker {ending(exit_code)} {held} ({kind})")

    def _fail_all(self, error: WorkerDied) -> None:
        with self._condition:
            lost = list(self._flights.values())
            self._flights.clear()
            self._deaths += 1
        for flight in lost:
            flight.call.fail(error)
        self._on_event("worker_died", str(error))


def _send_all(connection: Connection, outbox: queue.SimpleQueue[bytes | None]) -> None:
    """Send until told None; a broken pipe means that the child is gone, which the listener notices as well."""
    while (message := outbox.get()) is not None:
        try:
            connection.send_bytes(message)
        except OSError:
            return
