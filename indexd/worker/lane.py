"""One lane: the calls that wait for one device, and the child process that serves them while there are any.

A thread per lane owns the child from birth to death; `submit` and `cancel` may come from any thread. Nothing polls: the
thread sleeps on a condition while there is nothing to do, and on the child's pipe while there is.
"""

from __future__ import annotations

import errno
import itertools
import logging
import pickle
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from indexd.errors import CallCancelled, CallTimedOut, WorkerDied
from indexd.worker import answers, wire
from indexd.worker.calls import Priority, WorkerSettings
from indexd.worker.ending import ending
from indexd.worker.flights import Flight, Flights
from indexd.worker.handle import Call, LaneStatus, OnProgress
from indexd.worker.spawned import Spawned

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
"""Before another start after children that died before they began anything: doubled each time. The calls wait."""
BEGIN_SECONDS = 180.0
"""How long a child that holds calls may be silent without having begun one. Its start imports no model library, so that
even a machine that swaps is through in less."""

OnEvent = Callable[[str, str], None]


class Lane:
    """The calls of one device and their process."""

    def __init__(self, name: str, settings: WorkerSettings, on_event: OnEvent) -> None:
        self._name = name
        self._settings = settings
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._condition = threading.Condition()
        # All below is guarded by the condition's lock.
        self._flights = Flights()
        self._process: Spawned | None = None
        self._residents: tuple[float, dict[str, float]] = (0.0, {})
        self._heard_at = 0.0
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
            if self._thread is None:
                try:
                    self._thread = self._started()
                except RuntimeError as error:
                    handle.fail(OSError(errno.EAGAIN, f"the {self._name} lane cannot begin: {error}"))
                    return handle
            if not self._flights:
                self._heard_at = time.monotonic()
            self._flights.add(Flight(handle, number, message, on_progress, timeout_seconds))
            self._send(message)
            self._condition.notify_all()
        return handle

    def _started(self) -> threading.Thread:
        """Raises RuntimeError where the system starts no more threads."""
        thread = threading.Thread(target=self._supervise, name=f"lane-{self._name}", daemon=True)
        thread.start()
        return thread

    def status(self) -> LaneStatus:
        """How the lane stands."""
        with self._condition:
            process = self._process
            told_at, models = self._residents
            older = time.monotonic() - told_at
            begun = len(self._flights.begun())
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
            waiting = self._flights.take_waiting()
            self._send(pickle.dumps(wire.Stop()))
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
                self._flights.land(number)
            self._send(pickle.dumps(wire.Cancel(number)))
        if not flight.begun:
            flight.call.fail(CallCancelled("cancelled before it was begun"))

    def _send(self, message: bytes) -> None:
        """To the child, unless there is none or it is leaving; the caller holds the lock."""
        if self._process is not None and not self._leaving:
            self._process.send(message)

    def _supervise(self) -> None:
        while True:
            with self._condition:
                while not self._flights and not self._stopping:
                    self._condition.wait()
                if self._fruitless and not self._stopping:
                    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self._fruitless - 1))
                    self._condition.wait_for(lambda: self._stopping, pause)
                if self._stopping:
                    left = self._flights.take_all()
                    break
            try:
                self._attend()
            except Exception:
                # Without this thread every call of the device would wait for ever.
                log.exception("attending to the %s worker went wrong", self._name)
                with self._condition:
                    self._fruitless += 1
        for flight in left:
            flight.call.fail(CallCancelled("indexd is stopping; the call was not finished"))

    def _attend(self) -> None:
        """One child from birth to death."""
        try:
            process = Spawned(self._name, self._settings)
        except OSError as error:
            with self._condition:
                self._fruitless += 1
            self._on_event("worker_died", f"a worker for the {self._name} lane cannot be started: {error}")
            return
        with self._condition:
            self._process, self._leaving = process, False
            self._heard_at = time.monotonic()
            for message in self._flights.messages():
                process.send(message)
            if self._stopping:
                process.send(pickle.dumps(wire.Stop()))
        log.debug("%s worker started, pid %s", self._name, process.pid)
        overdue: list[Flight] = []
        mute = ""
        try:
            overdue, mute = self._listen(process.connection)
        finally:
            self._settle(process.bury(), overdue, mute)

    def _listen(self, connection: Connection) -> tuple[list[Flight], str]:
        """Handle what the child says until it is gone or begins nothing, or until calls are overdue.

        The calls that are overdue, and what is to be said of a child that begins nothing.
        """
        while True:
            with self._condition:
                deadline = self._flights.next_deadline()
            now = time.monotonic()
            # A call that comes does not wake this thread, and the child may hang: looked at by the clock as well.
            limit = now + BEGIN_SECONDS if deadline is None else deadline
            if wait([connection], max(0.0, min(limit, self._begin_by(now)) - now)):
                try:
                    message: wire.FromChild = connection.recv()
                except (EOFError, OSError):
                    return [], ""
                except Exception:
                    # Its calls fail with it; the lane lives on, and the next child may make itself understood.
                    log.exception("the %s worker sent something that cannot be read; it is ended", self._name)
                    return [], ""
                self._hear(message)
                continue
            with self._condition:
                overdue = self._flights.overdue(time.monotonic())
            if overdue:
                return overdue, ""
            if self._begin_by(time.monotonic()) <= time.monotonic():
                return [], f"was ended because it began nothing for {BEGIN_SECONDS:g} s"

    def _begin_by(self, now: float) -> float:
        """When a child that has begun nothing must have; far away while it has a call in hand or none at all."""
        with self._condition:
            if self._flights.begun() or not self._flights:
                return now + BEGIN_SECONDS
            return self._heard_at + BEGIN_SECONDS

    def _hear(self, message: wire.FromChild) -> None:
        with self._condition:
            self._heard_at = time.monotonic()
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
                    self._give(flight, result)
            case wire.Failed(number, error):
                if (flight := self._land(number)) is not None:
                    flight.call.fail(error)
            case wire.Residents(models):
                with self._condition:
                    self._residents = (time.monotonic(), dict(models))
            case wire.Leaving():
                with self._condition:
                    self._leaving = True
            case wire.Logged(level, logger, text):
                logging.getLogger(logger).log(level, "%s", text)

    def _give(self, flight: Flight, result: Any) -> None:
        fault = answers.fault(flight.call.call, result)
        if fault is None:
            flight.call.finish(result)
        else:
            flight.call.fail(wire.WorkerBug(f"the {self._name} worker gave a wrong answer to {flight.kind}: {fault}"))

    def _sign(self, number: int, *, begun: bool = False) -> Flight | None:
        with self._condition:
            if begun:
                self._fruitless = 0
            flight = self._flights.get(number)
            if flight is not None:
                flight.begun = flight.begun or begun
                flight.sign_at = time.monotonic()
            return flight

    def _land(self, number: int) -> Flight | None:
        with self._condition:
            return self._flights.land(number)

    def _settle(self, exit_code: int | None, overdue: list[Flight], mute: str) -> None:
        """The child is gone: fail what it took with it; what it had not begun waits for the next one.

        After a time limit others may have been in hand: they were served in the same process, are not to blame, and wait.
        """
        with self._condition:
            self._process, self._residents = None, (0.0, {})
            lost = self._flights.take(overdue or self._flights.begun())
            died = not self._leaving and not self._stopping
            if died:
                self._deaths += 1
                self._fruitless = self._fruitless + 1 if self._flights and not lost else 0
        for flight in lost:
            flight.call.fail(self._cause(flight, exit_code, overdue) if died else CallCancelled("indexd is stopping"))
        if died:
            what = "was ended because a call hung" if overdue else mute or ending(exit_code)
            self._on_event("worker_died", f"the {self._name} worker {what}; calls lost: {len(lost)}")

    def _cause(self, flight: Flight, exit_code: int | None, overdue: list[Flight]) -> WorkerDied:
        if flight in overdue:
            silence = f"gave no sign of life for {flight.timeout_seconds:g} s"
            return CallTimedOut(f"{flight.kind} {silence}; its worker was ended")
        return WorkerDied(f"the {self._name} worker {ending(exit_code)} while it held this call ({flight.kind})")
