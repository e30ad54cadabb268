"""What a serving function in the worker may ask of its surroundings while it works on a call.

Every serving function has the form `serve(call, session)`; it returns the result, or a `Deferred`. It calls `session.poll()` at every point where it
can be interrupted (between denoising steps, between batches): a cancelled call is ended there, and calls of a person who
waits are served there. Protocols only, so that tests pass a plain object.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from indexd.worker.calls import ModelSpec, WorkerSettings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Deferred(Generic[T_co]):
    """The answer of a serving function whose last part needs no model: `finish` runs in a thread beside the next call."""

    finish: Callable[[], T_co]


class Pool(Protocol):
    """The resident models of this process."""

    def lease(
        self, role: str, key: str, load: Callable[[], T], keep_alive_seconds: float | None
    ) -> AbstractContextManager[T]:
        """The model under `key`, loaded by `load` unless it is resident; not evicted before the block is left.

        `key` tells revisions apart (role, path, device, dtype); `role` is the name that `status` shows. When the device
        has no memory for `load`, idle models are evicted and it is tried once more; then errors.OutOfMemory.
        """
        ...

    def run_with_eviction(self, work: Callable[[], T]) -> T:
        """The result of `work()`; when the device runs out of memory idle models are evicted and it runs once more.

        Raises errors.OutOfMemory when that was not enough. `work` must be harmless to run twice.
        """
        ...


class CallSession(Protocol):
    """The call that is being served."""

    @property
    def pool(self) -> Pool:
        """The resident models."""
        ...

    @property
    def settings(self) -> WorkerSettings:
        """The settings of the worker."""
        ...

    def spec(self, role: str) -> ModelSpec:
        """The settings of a role, its `device` already the one of this worker. Raises errors.ModelUnavailable."""
        ...

    def poll(self) -> None:
        """Serve urgent calls, then return. Raises errors.CallCancelled when this call was cancelled."""
        ...

    def progress(self, stage: str, done: int, total: int) -> None:
        """Report the progress to the caller; this also restarts the time limit of the call."""
        ...


class RenderSession(CallSession, Protocol):
    """The session of a Render: the same as any other's; `spec(GENERATOR)` gives device, dtype and keep-alive."""

    def raise_if_cancelled(self) -> None:
        """Raise errors.CallCancelled when this call was cancelled; serves nothing, so it may be called within a step."""
        ...
