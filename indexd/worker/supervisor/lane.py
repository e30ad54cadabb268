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
from indexd.worker import protocol, result_validation
from indexd.worker.call_handle import CallHandle, LaneStatus, OnProgress
from indexd.worker.calls import Priority, WorkerSettings
from indexd.worker.supervisor.child_process import ChildProcess, describe_exit
from indexd.worker.supervisor.in_flight import InFlightCall, InFlightCalls

log = logging.getLogger(__name__)

FIRST_RESTART_DELAY_SECONDS = 0.5
MAX_RESTART_DELAY_SECONDS = 30.0
"""Before another start after children that died before they began anything: doubled each time. The calls wait."""
FIRST_MESSAGE_TIMEOUT_SECONDS = 180.0
"""How long a child that holds calls may be silent without having begun one. Its start imports no model library, so that
even a machine that swaps is through in less."""

OnWorkerEvent = Callable[[str, str], None]


class Lane:
    """The calls of one device and their process."""

    def __init__(self, name: str, settings: WorkerSettings, on_event: OnWorkerEvent) -> None:
        self._name = name
        self._settings = settings
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._condition = threading.Condition()
        # All below is guarded by the condition's lock.
        self._in_flight = InFlightCalls()
        self._process: ChildProcess | None = None
        self._residents: tuple[float, dict[str, float]] = (0.0, {})
        self._last_message_at = 0.0
        self._deaths = 0
        self._failed_starts = 0
        self._child_exiting = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def submit(
        self, call: Any, priority: Priority, on_progress: OnProgress | None, timeout_seconds: float | None
    ) -> CallHandle:
        """Take a call; a child is started for it if there is none."""
        number = next(self._numbers)
        handle = CallHandle(call, lambda: self._cancel(number))
        # Pickled here, so that a call that cannot cross raises where it was made and never spoils the lane.
        message = pickle.dumps(protocol.RunCall(number, int(priority), call), pickle.HIGHEST_PROTOCOL)
        with self._condition:
            if self._stopping:
                handle.fail(CallCancelled("indexd is stopping and takes no more calls"))
                return handle
            if self._thread is None:
                try:
                    self._thread = self._start_thread()
                except RuntimeError as error:
                    handle.fail(OSError(errno.EAGAIN, f"the {self._name} lane cannot begin: {error}"))
                    return handle
            if not self._in_flight:
                self._last_message_at = time.monotonic()
            self._in_flight.add(InFlightCall(handle, number, message, on_progress, timeout_seconds))
            self._send(message)
            self._condition.notify_all()
        return handle

    def _start_thread(self) -> threading.Thread:
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
            begun = len(self._in_flight.started())
            return LaneStatus(
                lane=self._name,
                pid=process.pid if process else None,
                alive=process is not None,
                deaths=self._deaths,
                queued=len(self._in_flight) - begun,
                running=begun,
                models={role: idle + older for role, idle in models.items()},
            )

    def begin_stop(self) -> None:
        """Give up what was not begun; let the child finish what was and leave."""
        with self._condition:
            self._stopping = True
            waiting = self._in_flight.take_unstarted()
            self._send(pickle.dumps(protocol.StopWorker()))
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
            flight = self._in_flight.get(number)
            if flight is None:
                return
            if not flight.is_started:
                self._in_flight.remove(number)
            self._send(pickle.dumps(protocol.CancelCall(number)))
        if not flight.is_started:
            flight.call.fail(CallCancelled("cancelled before it was begun"))

    def _send(self, message: bytes) -> None:
        """To the child, unless there is none or it is leaving; the caller holds the lock."""
        if self._process is not None and not self._child_exiting:
            self._process.send(message)

    def _supervise(self) -> None:
        while True:
            with self._condition:
                while not self._in_flight and not self._stopping:
                    self._condition.wait()
                if self._failed_starts and not self._stopping:
                    pause = min(MAX_RESTART_DELAY_SECONDS, FIRST_RESTART_DELAY_SECONDS * 2 ** (self._failed_starts - 1))
                    self._condition.wait_for(lambda: self._stopping, pause)
                if self._stopping:
                    left = self._in_flight.take_all()
                    break
            try:
                self._run_child()
            except Exception:
                # Without this thread every call of the device would wait for ever.
                log.exception("attending to the %s worker went wrong", self._name)
                with self._condition:
                    self._failed_starts += 1
        for flight in left:
            flight.call.fail(CallCancelled("indexd is stopping; the call was not finished"))

    def _run_child(self) -> None:
        """One child from birth to death."""
        try:
            process = ChildProcess(self._name, self._settings)
        except OSError as error:
            with self._condition:
                self._failed_starts += 1
            self._on_event("worker_died", f"a worker for the {self._name} lane cannot be started: {error}")
            return
        with self._condition:
            self._process, self._child_exiting = process, False
            self._last_message_at = time.monotonic()
            for message in self._in_flight.messages():
                process.send(message)
            if self._stopping:
                process.send(pickle.dumps(protocol.StopWorker()))
        log.debug("%s worker started, pid %s", self._name, process.pid)
        overdue: list[InFlightCall] = []
        mute = ""
        try:
            overdue, mute = self._receive_until_exit(process.connection)
        finally:
            self._clean_up_after_exit(process.kill_and_wait(), overdue, mute)

    def _receive_until_exit(self, connection: Connection) -> tuple[list[InFlightCall], str]:
        """Handle what the child says until it is gone or begins nothing, or until calls are overdue.

        The calls that are overdue, and what is to be said of a child that begins nothing.
        """
        while True:
            with self._condition:
                deadline = self._in_flight.next_deadline()
            now = time.monotonic()
            # A call that comes does not wake this thread, and the child may hang: looked at by the clock as well.
            limit = now + FIRST_MESSAGE_TIMEOUT_SECONDS if deadline is None else deadline
            if wait([connection], max(0.0, min(limit, self._first_message_deadline(now)) - now)):
                try:
                    message: protocol.FromChild = connection.recv()
                except (EOFError, OSError):
                    return [], ""
                except Exception:
                    # Its calls fail with it; the lane lives on, and the next child may make itself understood.
                    log.exception("the %s worker sent something that cannot be read; it is ended", self._name)
                    return [], ""
                self._handle_message(message)
                continue
            with self._condition:
                overdue = self._in_flight.overdue(time.monotonic())
            if overdue:
                return overdue, ""
            if self._first_message_deadline(time.monotonic()) <= time.monotonic():
                return [], f"was ended because it began nothing for {FIRST_MESSAGE_TIMEOUT_SECONDS:g} s"

    def _first_message_deadline(self, now: float) -> float:
        """When a child that has begun nothing must have; far away while it has a call in hand or none at all."""
        with self._condition:
            if self._in_flight.started() or not self._in_flight:
                return now + FIRST_MESSAGE_TIMEOUT_SECONDS
            return self._last_message_at + FIRST_MESSAGE_TIMEOUT_SECONDS

    def _handle_message(self, message: protocol.FromChild) -> None:
        with self._condition:
            self._last_message_at = time.monotonic()
        match message:
            case protocol.CallStarted(number):
                self._record_activity(number, started=True)
            case protocol.ProgressMessage(number, progress):
                flight = self._record_activity(number)
                if flight is not None and flight.on_progress is not None:
                    try:
                        flight.on_progress(progress)
                    except Exception:
                        log.exception("a listener to the progress of a %s failed", type(flight.call.call).__name__)
            case protocol.CallFinished(number, result):
                if (flight := self._remove(number)) is not None:
                    self._deliver_result(flight, result)
            case protocol.CallFailed(number, error):
                if (flight := self._remove(number)) is not None:
                    flight.call.fail(error)
            case protocol.ResidentRoles(models):
                with self._condition:
                    self._residents = (time.monotonic(), dict(models))
            case protocol.WorkerExiting():
                with self._condition:
                    self._child_exiting = True
            case protocol.LogMessage(level, logger, text):
                logging.getLogger(logger).log(level, "%s", text)

    def _deliver_result(self, flight: InFlightCall, result: Any) -> None:
        fault = result_validation.find_result_error(flight.call.call, result)
        if fault is None:
            flight.call.finish(result)
        else:
            flight.call.fail(
                protocol.WorkerBug(f"the {self._name} worker gave a wrong answer to {flight.call_name}: {fault}")
            )

    def _record_activity(self, number: int, *, started: bool = False) -> InFlightCall | None:
        with self._condition:
            if started:
                self._failed_starts = 0
            flight = self._in_flight.get(number)
            if flight is not None:
                flight.is_started = flight.is_started or started
                flight.last_activity_at = time.monotonic()
            return flight

    def _remove(self, number: int) -> InFlightCall | None:
        with self._condition:
            return self._in_flight.remove(number)

    def _clean_up_after_exit(self, exit_code: int | None, overdue: list[InFlightCall], silence_reason: str) -> None:
        """The child is gone: fail what it took with it; what it had not begun waits for the next one.

        After a time limit others may have been in hand: they were served in the same process, are not to blame, and wait.
        """
        with self._condition:
            self._process, self._residents = None, (0.0, {})
            lost = self._in_flight.remove_lost(overdue or self._in_flight.started())
            died = not self._child_exiting and not self._stopping
            if died:
                self._deaths += 1
                self._failed_starts = self._failed_starts + 1 if self._in_flight and not lost else 0
        for flight in lost:
            flight.call.fail(
                self._lost_call_error(flight, exit_code, overdue) if died else CallCancelled("indexd is stopping")
            )
        if died:
            what = "was ended because a call hung" if overdue else silence_reason or describe_exit(exit_code)
            self._on_event("worker_died", f"the {self._name} worker {what}; calls lost: {len(lost)}")

    def _lost_call_error(self, flight: InFlightCall, exit_code: int | None, overdue: list[InFlightCall]) -> WorkerDied:
        if flight in overdue:
            silence = f"gave no sign of life for {flight.timeout_seconds:g} s"
            return CallTimedOut(f"{flight.call_name} {silence}; its worker was ended")
        return WorkerDied(
            f"the {self._name} worker {describe_exit(exit_code)} while it held this call ({flight.call_name})"
        )
