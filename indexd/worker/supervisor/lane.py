"""One lane: the calls that wait for one device, and the child process that serves them while there are any.

One thread per lane owns the child; `submit` and `cancel` may be called from any thread. Nothing polls: the thread waits on
a condition while no call is pending, and on the child's pipe while there is a child.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

from indexd.background.background_service import BackgroundService
from indexd.background.backoff import Backoff
from indexd.errors import CallCancelled, CallTimedOut, WorkerDied
from indexd.worker import protocol, result_validation
from indexd.worker.call_handle import CallHandle, LaneStatus, OnProgress
from indexd.worker.calls import Priority, WorkerSettings
from indexd.worker.supervisor.child_process import ChildProcess, describe_exit
from indexd.worker.supervisor.in_flight import InFlightCall, InFlightCalls

log = logging.getLogger(__name__)

FIRST_RESTART_DELAY_SECONDS = 0.5
MAX_RESTART_DELAY_SECONDS = 30.0
"""The pauses before the next start after children that died before they started a call. The calls wait."""
FIRST_MESSAGE_TIMEOUT_SECONDS = 180.0
"""How long a child that holds calls may be silent without having started one. Its start imports no model library, so it
takes less even on a machine that swaps."""
CANCEL_GRACE_SECONDS = 30.0
"""How long a cancelled call may go on. Serving functions check between steps, and renders between the blocks of a network; one
block of a very large image takes minutes on a CPU, and then the process is killed."""

OnWorkerEvent = Callable[[str, str], None]


class Lane(BackgroundService):
    """The calls of one device and their process. The first `submit` starts the thread."""

    def __init__(self, lane: str, settings: WorkerSettings, on_event: OnWorkerEvent) -> None:
        super().__init__(f"lane-{lane}")
        self._lane = lane
        self._settings = settings
        self._on_event = on_event
        self._numbers = itertools.count(1)
        # All below is guarded by the lock of `condition`.
        self._in_flight = InFlightCalls()
        self._process: ChildProcess | None = None
        self._residents: tuple[float, dict[str, float]] = (0.0, {})
        self._last_message_at = 0.0
        self._deaths = 0
        self._restart_backoff = Backoff(FIRST_RESTART_DELAY_SECONDS, MAX_RESTART_DELAY_SECONDS)
        self._child_exiting = False

    def submit(
        self, call: Any, priority: Priority, on_progress: OnProgress | None, timeout_seconds: float | None
    ) -> CallHandle:
        """Queue a call; a child is started for it if there is none."""
        number = next(self._numbers)
        handle = CallHandle(call, lambda: self._cancel(number))
        # Pickled here, so that a call that cannot be pickled raises at its caller and does no harm to the lane.
        message = pickle.dumps(protocol.RunCall(number, int(priority), call), pickle.HIGHEST_PROTOCOL)
        with self.condition:
            if self.is_stopping:
                handle.fail(CallCancelled("indexd is stopping and takes no more calls"))
                return handle
            if not self.is_started:
                try:
                    self.start()
                except OSError as error:
                    handle.fail(error)
                    return handle
            if not self._in_flight:
                self._last_message_at = time.monotonic()
            self._in_flight.add(InFlightCall(handle, number, message, on_progress, timeout_seconds))
            self._send(message)
            self.wake()
        return handle

    def status(self) -> LaneStatus:
        """The status of the lane now."""
        with self.condition:
            process = self._process
            reported_at, models = self._residents
            report_age_seconds = time.monotonic() - reported_at
            running = len(self._in_flight.started())
            return LaneStatus(
                lane=self._lane,
                pid=process.pid if process else None,
                alive=process is not None,
                deaths=self._deaths,
                queued=len(self._in_flight) - running,
                running=running,
                models={role: idle_seconds + report_age_seconds for role, idle_seconds in models.items()},
            )

    def begin_stop(self) -> None:
        """Cancel the calls that are not started; let the child finish the others and exit."""
        with self.condition:
            unstarted = self._in_flight.take_unstarted()
            self._send(pickle.dumps(protocol.StopWorker()))
            self.request_stop()
        for flight in unstarted:
            flight.call.fail(CallCancelled("indexd is stopping; the call was not started"))

    def finish_stop(self, seconds: float) -> None:
        """After `begin_stop`: wait so long for the started calls, then kill the process."""
        if not self.join(max(0.0, seconds)):
            self.kill()
            self.join()

    def kill(self) -> None:
        """Kill the process now; its started calls fail."""
        with self.condition:
            if self._process is not None:
                self._process.kill()

    def _cancel(self, number: int) -> None:
        with self.condition:
            flight = self._in_flight.get(number)
            if flight is None:
                return
            if flight.is_started:
                flight.cancel_deadline = flight.cancel_deadline or time.monotonic() + CANCEL_GRACE_SECONDS
            else:
                self._in_flight.remove(number)
            self._send(pickle.dumps(protocol.CancelCall(number)))
        if not flight.is_started:
            flight.call.fail(CallCancelled("cancelled before it was started"))

    def _send(self, message: bytes) -> None:
        """Send to the child, unless there is none or it is exiting; the caller holds the lock."""
        if self._process is not None and not self._child_exiting:
            self._process.send(message)

    def run_once(self) -> float | None:
        """Start a child when a call is pending, and serve the calls until it exits."""
        with self.condition:
            if not self._in_flight:
                return None
            if not self._restart_backoff.is_due:
                return self._restart_backoff.seconds_left()
        try:
            self._run_child()
        except Exception:
            # The thread must survive: without it every call of the device would wait for ever.
            log.exception("supervising the %s worker failed", self._lane)
            self._restart_backoff.fail()
        return 0.0

    def finish(self) -> None:
        """Cancel the calls that are left."""
        with self.condition:
            left = self._in_flight.take_all()
        for flight in left:
            flight.call.fail(CallCancelled("indexd is stopping; the call was not finished"))

    def _run_child(self) -> None:
        """Start one child and serve the calls until it is gone."""
        try:
            process = ChildProcess(self._lane, self._settings)
        except OSError as error:
            self._restart_backoff.fail()
            self._on_event("worker_died", f"a worker for the {self._lane} lane cannot be started: {error}")
            return
        with self.condition:
            self._process, self._child_exiting = process, False
            self._last_message_at = time.monotonic()
            for message in self._in_flight.messages():
                process.send(message)
            if self.is_stopping:
                process.send(pickle.dumps(protocol.StopWorker()))
        log.debug("%s worker started, pid %s", self._lane, process.pid)
        overdue: list[InFlightCall] = []
        silence_reason = ""
        try:
            overdue, silence_reason = self._receive_until_exit(process.connection)
        finally:
            self._clean_up_after_exit(process.kill_and_wait(), overdue, silence_reason)

    def _receive_until_exit(self, connection: protocol.ProcessPipe) -> tuple[list[InFlightCall], str]:
        """Handle the child's messages until it is gone, or calls are overdue, or it starts no call in time.

        Returns the overdue calls, and what the event says of a child that starts none.
        """
        while True:
            now = time.monotonic()
            with self.condition:
                deadline = self._in_flight.next_deadline()
                is_working = bool(self._in_flight.started())
            # A new call or a cancellation does not wake this thread, and the child may hang, so the deadlines are checked
            # by the clock.
            limit = now + (CANCEL_GRACE_SECONDS if is_working else FIRST_MESSAGE_TIMEOUT_SECONDS)
            limit = limit if deadline is None else min(limit, deadline)
            if wait([connection], max(0.0, min(limit, self._first_message_deadline(now)) - now)):
                try:
                    message: protocol.FromChild = connection.recv()
                except (EOFError, OSError):
                    return [], ""
                except Exception:
                    # Its calls fail with it; the lane starts the next child.
                    log.exception("the %s worker sent a message that cannot be read; it is killed", self._lane)
                    return [], ""
                self._handle_message(message)
                continue
            with self.condition:
                overdue = self._in_flight.overdue(time.monotonic())
            if overdue:
                return overdue, ""
            if self._first_message_deadline(time.monotonic()) <= time.monotonic():
                return [], f"was killed because it started no call for {FIRST_MESSAGE_TIMEOUT_SECONDS:g} s"

    def _first_message_deadline(self, now: float) -> float:
        """When a child without a started call must have started one; never while it has started one or has none to start."""
        with self.condition:
            if self._in_flight.started() or not self._in_flight:
                return now + FIRST_MESSAGE_TIMEOUT_SECONDS
            return self._last_message_at + FIRST_MESSAGE_TIMEOUT_SECONDS

    def _handle_message(self, message: protocol.FromChild) -> None:
        with self.condition:
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
                        log.exception("the progress listener of a %s failed", type(flight.call.call).__name__)
            case protocol.CallFinished(number, result):
                if (flight := self._remove(number)) is not None:
                    self._deliver_result(flight, result)
            case protocol.CallFailed(number, error):
                if (flight := self._remove(number)) is not None:
                    flight.call.fail(error)
            case protocol.ResidentRoles(models):
                with self.condition:
                    self._residents = (time.monotonic(), dict(models))
            case protocol.WorkerExiting():
                with self.condition:
                    self._child_exiting = True
            case protocol.LogMessage(level, logger, text):
                logging.getLogger(logger).log(level, "%s", text)

    def _deliver_result(self, flight: InFlightCall, result: Any) -> None:
        fault = result_validation.find_result_error(flight.call.call, result)
        if fault is None:
            flight.call.finish(result)
        else:
            flight.call.fail(
                protocol.WorkerBug(f"the {self._lane} worker sent a wrong result for {flight.call_name}: {fault}")
            )

    def _record_activity(self, number: int, *, started: bool = False) -> InFlightCall | None:
        with self.condition:
            if started:
                self._restart_backoff.reset()
            flight = self._in_flight.get(number)
            if flight is not None:
                flight.is_started = flight.is_started or started
                flight.last_activity_at = time.monotonic()
            return flight

    def _remove(self, number: int) -> InFlightCall | None:
        with self.condition:
            return self._in_flight.remove(number)

    def _clean_up_after_exit(self, exit_code: int | None, overdue: list[InFlightCall], silence_reason: str) -> None:
        """Fail the calls that the child had started; the others wait for the next child.

        After a time limit only the overdue calls fail: the others it had started are not to blame, and wait as well.
        """
        with self.condition:
            self._process, self._residents = None, (0.0, {})
            lost = self._in_flight.remove_lost(overdue or self._in_flight.started())
            died = not self._child_exiting and not self.is_stopping
            # The daemon ended this process as a person asked; nothing is wrong with it.
            by_cancellation = bool(overdue) and all(flight.cancel_deadline is not None for flight in overdue)
            if died:
                self._deaths += not by_cancellation
                if self._in_flight and not lost:
                    self._restart_backoff.fail()
                else:
                    self._restart_backoff.reset()
        for flight in lost:
            flight.call.fail(
                self._lost_call_error(flight, exit_code, overdue) if died else CallCancelled("indexd is stopping")
            )
        if died and by_cancellation:
            names = ", ".join(flight.call_name for flight in lost)
            log.warning("the %s worker was killed because a cancelled call did not stop (%s)", self._lane, names)
        elif died:
            what = "was killed because a call hung" if overdue else silence_reason or describe_exit(exit_code)
            self._on_event("worker_died", f"the {self._lane} worker {what}; calls lost: {len(lost)}")

    def _lost_call_error(
        self, flight: InFlightCall, exit_code: int | None, overdue: list[InFlightCall]
    ) -> WorkerDied | CallCancelled:
        if flight.cancel_deadline is not None:
            return CallCancelled("cancelled; its worker was killed because it did not stop")
        if flight in overdue:
            silence = f"reported no progress for {flight.timeout_seconds:g} s"
            return CallTimedOut(f"{flight.call_name} {silence}; its worker was killed")
        return WorkerDied(
            f"the {self._lane} worker {describe_exit(exit_code)} while it ran this call ({flight.call_name})"
        )
