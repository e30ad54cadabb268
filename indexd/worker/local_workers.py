"""The worker processes of this machine: one lane per device; every process that was started is ended."""

from __future__ import annotations

import atexit
import threading
import time
import weakref

from indexd.errors import CallCancelled
from indexd.worker import role_availability
from indexd.worker.call_handle import CallHandle, LaneStatus, OnProgress
from indexd.worker.calls import AnyCall, Priority, WorkerSettings
from indexd.worker.routing import CLUSTER, CPU, DECODE, GPU, lane_of_call
from indexd.worker.supervisor.lane import Lane, OnWorkerEvent

_LANE_ORDER = (GPU, CPU, DECODE, CLUSTER)


def _ignore_event(_kind: str, _text: str) -> None:
    """The default listener: nothing happens."""


class LocalWorkers:
    """Serves calls in child processes, which start with the first call and exit when idle.

    `on_event(kind, text)` is called for every death ("worker_died"), in the lane's thread; it must be quick.
    """

    def __init__(self, settings: WorkerSettings, on_event: OnWorkerEvent = _ignore_event) -> None:
        self._settings = settings
        self._on_event = on_event
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._stopped = False
        # multiprocessing's own exit hook would wait for children that ignore SIGTERM; this one runs before it.
        atexit.register(_kill_remaining, weakref.ref(self))

    def submit(
        self,
        call: AnyCall,
        *,
        priority: Priority = Priority.JOB,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> CallHandle:
        """Take a call; never blocks. `timeout_seconds` is the longest silence before the call's worker is ended.

        The result may fail with errors of the call itself (ModelOff, OutOfMemory, RenderFailed, …), with WorkerDied
        (CallTimedOut), or with CallCancelled, also when the program is stopping.
        """
        name = lane_of_call(call, self._settings)
        with self._lock:
            if self._stopped:
                handle = CallHandle(call)
                handle.fail(CallCancelled("indexd is stopping and takes no more calls"))
                return handle
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(name, self._settings, self._on_event)
        return lane.submit(call, priority, on_progress, timeout_seconds)

    def status(self) -> list[LaneStatus]:
        """Every lane used so far, the GPU first."""
        with self._lock:
            lanes = list(self._lanes.items())
        lanes.sort(key=lambda lane: (_LANE_ORDER.index(lane[0]) if lane[0] in _LANE_ORDER else 0, lane[0]))
        return [lane.status() for _, lane in lanes]

    def role_problem(self, role: str) -> str | None:
        """See WorkerBackend; judged by the files on this machine."""
        return role_availability.role_problem(self._settings, role)

    def role_fingerprint(self, role: str) -> str | None:
        """See WorkerBackend; of the files on this machine."""
        return role_availability.role_fingerprint(self._settings, role)

    def stop(self, deadline: float) -> None:
        """See WorkerBackend."""
        with self._lock:
            self._stopped = True
            lanes = list(self._lanes.values())
        until = time.monotonic() + deadline
        for lane in lanes:
            lane.begin_stop()
        for lane in lanes:
            lane.finish_stop(until - time.monotonic())

    def kill(self) -> None:
        """Kill every process now; their started calls fail, and the others go to the next process."""
        with self._lock:
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.kill()


def _kill_remaining(reference: weakref.ref[LocalWorkers]) -> None:
    workers = reference()
    if workers is not None:
        workers.kill()
