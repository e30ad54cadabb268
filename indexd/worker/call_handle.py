"""A call that was handed in, and what every place that takes calls must offer."""

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
    """A call in hand: its result will come, or the error for which there is none.

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
        """Ask that the call be given up: at once if it was not begun, else at its next step. Harmless when it is over."""
        if self._cancel is not None and not self.future.done():
            self._cancel()

    def finish(self, result: Any) -> None:
        """Give the result, unless the call is over."""
        try:
            self.future.set_result(result)
        except InvalidStateError:
            log.debug("a second result of a %s was dropped", type(self.call).__name__)

    def fail(self, error: BaseException) -> None:
        """Give the error, unless the call is over."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            log.debug("a late error of a %s was dropped: %s", type(self.call).__name__, error)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane as `status` shows it. `queued` counts calls not begun; `models` maps role to seconds since its last use."""

    lane: str
    pid: int | None
    alive: bool
    deaths: int
    queued: int
    running: int = 0
    models: Mapping[str, float] = field(default_factory=dict)


class WorkerBackend(Protocol):
    """Whoever takes calls: the real Workers, the FakeWorkers, one day other machines."""

    def submit(
        self,
        call: AnyCall,
        *,
        priority: Priority = Priority.JOB,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> CallHandle:
        """Take a call. `timeout_seconds` is the longest silence (no begin, no progress) before its worker is ended."""
        ...

    def status(self) -> Sequence[LaneStatus]:
        """How the lanes stand."""
        ...

    def stop(self, deadline: float) -> None:
        """Take no more calls, let what is begun finish for `deadline` seconds, then end every process."""
        ...
