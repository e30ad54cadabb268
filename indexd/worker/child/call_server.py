"""The worker process: receives calls, serves them one at a time in order of priority, and leaves when it is idle.

It owns no durable state and may be killed at any moment. When the daemon is gone the pipe ends, and so does this process.
Two threads: this one serves, another receives; what they share is guarded by one condition. A call that ends with work
that needs no model (encoding an image) is finished in a third, beside the next call.
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from indexd.errors import CallCancelled, ModelUnavailable
from indexd.worker import protocol
from indexd.worker.calls import READ_LANES, READ_ON_DEMAND_LANE, CallProgress, ModelSpec, Priority, WorkerSettings
from indexd.worker.child.bootstrap import forward_logs, prepare_process
from indexd.worker.role_availability import NO_MODEL_REASON
from indexd.worker.routing import CPU, DECODE, serve
from indexd.worker.session import Deferred, Pool

if TYPE_CHECKING:
    from indexd.models.model_pool import ModelPool

log = logging.getLogger(__name__)

IDLE_EXIT_SECONDS = {DECODE: 30.0, READ_LANES[0]: math.inf, READ_LANES[1]: 30.0, READ_ON_DEMAND_LANE: 30.0}
"""How long a lane stays without models and calls. A start costs a lane without torch 0.3 s: the first reader stays, so that
no new image waits for one. The other lanes hold the GPU and leave when their models have left."""
DEFAULT_IDLE_EXIT_SECONDS = 1.0

BUSY_KEEP_ALIVE_SECONDS = 5.0
"""How long a model stays at least while other calls are being served."""


def main(connection: Connection, lane: str, settings: WorkerSettings) -> None:
    """The main function of a worker process; never returns."""
    prepare_process(lane, settings)
    child = CallServer(connection, lane, settings)
    forward_logs(child.send, settings.log_level)
    child.run()
    # Not sys.exit: tearing torch down takes long, can crash, and there is nothing to save.
    os._exit(0)


class CallServer:
    """Serves the calls that come through `connection`."""

    def __init__(self, connection: Connection, lane: str, settings: WorkerSettings) -> None:
        self.lane = lane
        self.settings = settings
        self._connection = connection
        self._send_lock = threading.Lock()
        self._condition = threading.Condition()
        self._queue: list[tuple[int, int, protocol.RunCall]] = []
        self._running: set[int] = set()
        self._cancelled: set[int] = set()
        self._stopping = False
        self._pool: ModelPool | None = None
        self._idle_since = time.monotonic()
        self._finishing = 0

    @property
    def pool(self) -> ModelPool:
        """The resident models; asking for the pool is what loads torch."""
        if self._pool is None:
            from indexd.models.model_pool import ModelPool

            self._pool = ModelPool()
        return self._pool

    def resolve_spec(self, spec: ModelSpec) -> ModelSpec:
        """`spec` with the device and the number format that it has in this worker."""
        from indexd.models.device import resolve_device, resolve_dtype

        if self.lane == CPU and spec.device != "cpu":
            # Here only for questions: the number format was chosen for the card.
            return replace(spec, device="cpu", dtype=resolve_dtype("auto", "cpu"))
        device = resolve_device(spec.device, spec.role)
        return replace(spec, device=device, dtype=resolve_dtype(spec.dtype, device))

    def run(self) -> None:
        """Serve calls until the stop message comes or the process was idle for long enough."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        while (do := self._next_call()) is not None:
            self._serve(do)

    def send(self, message: protocol.FromChild) -> None:
        """Send a message to the daemon; from any thread."""
        with self._send_lock:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(1)

    def serve_urgent(self) -> None:
        """Serve every pending urgent call now, in the middle of another call."""
        while True:
            with self._condition:
                if not self._queue or self._queue[0][0] > Priority.URGENT:
                    return
                do = heapq.heappop(self._queue)[2]
                self._running.add(do.number)
            self._serve(do)

    def _receive(self) -> None:
        while True:
            try:
                message: protocol.ToChild = self._connection.recv()
            except BaseException:
                # The daemon has exited, so nobody needs the result. (Or a message cannot be
                # read, and without its receiver this process would only look alive.)
                os._exit(1)
            with self._condition:
                match message:
                    case protocol.RunCall(number, priority):
                        heapq.heappush(self._queue, (priority, number, message))
                    case protocol.CancelCall(number):
                        self._cancel(number)
                    case protocol.StopWorker():
                        self._stopping = True
                self._condition.notify_all()

    def _cancel(self, number: int) -> None:
        if number in self._running:
            self._cancelled.add(number)
        else:
            self._queue = [entry for entry in self._queue if entry[1] != number]
            heapq.heapify(self._queue)

    def _next_call(self) -> protocol.RunCall | None:
        """The next call; None when the process must exit, which the daemon knows by then."""
        with self._condition:
            while not self._stopping or self._finishing:
                if self._stopping:
                    self._condition.wait()
                    continue
                if self._queue:
                    do = heapq.heappop(self._queue)[2]
                    self._running.add(do.number)
                    return do
                seconds = None if self._finishing else self._seconds_to_wait()
                if seconds is not None and seconds <= 0:
                    break
                self._condition.wait(seconds)
            # Under the lock: a call that arrives from here on is never begun, and the daemon hands it out again.
            self.send(protocol.WorkerExiting())
            return None

    def _seconds_to_wait(self) -> float | None:
        """Seconds until a model expires or this process may leave (<= 0: now); None = for ever. Drops expired models."""
        now = time.monotonic()
        if self._pool is not None:
            if self._pool.drop_expired(now):
                self._idle_since = now
                self.send(protocol.ResidentRoles(self._pool.idle_seconds(now)))
            if self._pool.idle_seconds(now):
                expiry = self._pool.next_expiry()
                return None if expiry is None else max(0.001, expiry - now)
        seconds = IDLE_EXIT_SECONDS.get(self.lane, DEFAULT_IDLE_EXIT_SECONDS)
        return None if math.isinf(seconds) else self._idle_since + seconds - now

    def _serve(self, message: protocol.RunCall) -> None:
        self.send(protocol.CallStarted(message.number))
        answer = _answer(message, lambda: serve(message.call, WorkerSession(self, message)))
        deferred = answer.result if isinstance(answer, protocol.CallFinished) else None
        with self._condition:
            self._running.discard(message.number)
            self._cancelled.discard(message.number)
            self._idle_since = time.monotonic()
            if isinstance(deferred, Deferred):
                self._finishing += 1
        if self._pool is not None:
            # Between calls too, or a queue that never ends would keep what nobody uses. Not at once, though: with a
            # keep-alive of 0 the next call of the same job would load the model again.
            self._pool.drop_expired(time.monotonic(), at_least=BUSY_KEEP_ALIVE_SECONDS)
            self.send(protocol.ResidentRoles(self._pool.idle_seconds(time.monotonic())))
        if isinstance(deferred, Deferred):
            threading.Thread(target=self._finish, args=(message, deferred), name=f"finish-{message.number}").start()
        else:
            self._send_result(message, answer)

    def _finish(self, message: protocol.RunCall, deferred: Deferred[Any]) -> None:
        self._send_result(message, _answer(message, deferred.finish))
        with self._condition:
            self._finishing -= 1
            self._idle_since = time.monotonic()
            self._condition.notify_all()

    def _send_result(self, message: protocol.RunCall, result: protocol.CallFinished | protocol.CallFailed) -> None:
        try:
            self.send(result)
        except Exception as error:  # the result cannot be pickled: a defect of the serving function
            self.send(protocol.CallFailed(message.number, protocol.picklable_error(error)))

    def send_progress(self, number: int, progress: CallProgress) -> None:
        """Report the progress of a call."""
        self.send(protocol.ProgressMessage(number, progress))

    def raise_if_cancelled(self, number: int) -> None:
        """Raise CallCancelled if the started call was cancelled."""
        if number in self._cancelled:
            raise CallCancelled("cancelled while it was being worked on")


class WorkerSession:
    """The session of one started call; see `indexd.worker.session`."""

    def __init__(self, server: CallServer, message: protocol.RunCall) -> None:
        self._server = server
        self._message = message

    @property
    def pool(self) -> Pool:
        """The resident models of this process."""
        return self._server.pool

    @property
    def settings(self) -> WorkerSettings:
        """The settings with which the worker started."""
        return self._server.settings

    def spec(self, role: str) -> ModelSpec:
        """The settings of a role, with device and number format as they are in this worker."""
        spec = self._server.settings.models.get(role)
        if spec is None:
            raise ModelUnavailable(role, NO_MODEL_REASON.format(role=role))
        return self._server.resolve_spec(spec)

    def poll(self) -> None:
        """Serve urgent calls unless this call is urgent itself. Raises CallCancelled if this call was cancelled."""
        self.raise_if_cancelled()
        if self._message.priority > Priority.URGENT:
            self._server.serve_urgent()
            self.raise_if_cancelled()

    def raise_if_cancelled(self) -> None:
        """Raise CallCancelled if this call was cancelled."""
        self._server.raise_if_cancelled(self._message.number)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Report the progress to the caller."""
        self._server.send_progress(self._message.number, CallProgress(stage, done, total))


def _answer(message: protocol.RunCall, work: Callable[[], Any]) -> protocol.CallFinished | protocol.CallFailed:
    try:
        return protocol.CallFinished(message.number, work())
    except BaseException as error:
        return protocol.CallFailed(message.number, protocol.picklable_error(error))
