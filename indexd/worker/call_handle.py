"""The handle of a submitted call, and the protocol of everything that serves calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Protocol

from indexd.worker.calls import AnyCall, CallProgress, Priority

log = logging.getLogger(__name__)

OnProgress = Callable[[CallProgress], None]


class CallHandle:
    """A submitted call: its result comes, or the error for which there is none.

    `future` never raises CancelledError: a cancelled call ends with errors.CallCancelled like any other error.
    """

    def __init__(self, call: AnyCall, cancel: Callable[[], None] | None = None) -> None:
        self.call = call
        self.future: Future[Any] = Future()
        self._cancel = cancel

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result. Raises the call's error, or TimeoutError after `timeout` seconds (the call goes on)."""
        return self.future.result(timeout)

    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self.future.done()

    def cancel(self) -> None:
        """Cancel the call: at once if it is not started, else at its next step. Harmless when it is over."""
        if self._cancel is not None and not self.future.done():
            self._cancel()

    def finish(self, result: Any) -> None:
        """Set the result, unless the call is over."""
        try:
            self.future.set_result(result)
        except InvalidStateError:
            log.debug("a second result of a %s was dropped", type(self.call).__name__)

    def fail(self, error: BaseException) -> None:
        """Set the error, unless the call is over."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            log.debug("a late error of a %s was dropped: %s", type(self.call).__name__, error)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane as `status` shows it. `queued` counts calls not started; `models` maps role to seconds since its last use."""

    lane: str
    pid: int | None
    alive: bool
    deaths: int
    queued: int
    running: int = 0
    models: Mapping[str, float] = field(default_factory=dict)


class WorkerBackend(Protocol):
    """Everything that serves calls: processes of this machine (LocalWorkers), a fake, other machines later.

    A call and its result are plain data: numbers, texts, bytes and paths (FileRef). A path is meant on the machine of the
    worker, so callers ask `role_problem` instead of looking for model files. Every method may be called from any thread.
    The test `test_worker_backend.py` holds what every backend must do.
    """

    def submit(
        self,
        call: AnyCall,
        *,
        priority: Priority = Priority.JOB,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> CallHandle:
        """Queue a call; never blocks. `timeout_seconds`: the longest time without a start or progress, else CallTimedOut.

        The handle fails with the error of the call itself (ModelUnavailable, OutOfMemory, …), with WorkerDied, or with
        CallCancelled after `CallHandle.cancel` and after `stop`.
        """
        ...

    def status(self) -> Sequence[LaneStatus]:
        """The status of every lane."""
        ...

    def role_problem(self, role: str) -> str | None:
        """Why the role is off, as the end of the sentence "… is off, because …"; None = it is on. Loads no model."""
        ...

    def role_fingerprint(self, role: str) -> str | None:
        """A text that changes when the model files of the role do; None = it has none. May read a whole folder tree."""
        ...

    def stop(self, deadline: float) -> None:
        """Refuse new calls, give started ones `deadline` seconds, cancel the others, then end every process."""
        ...
