"""The session of a call in the worker's child: see session.py for what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexd.errors import ModelOff
from indexd.worker import wire
from indexd.worker.calls import ModelSpec, Priority, Progress, WorkerSettings
from indexd.worker.roles import NO_MODEL
from indexd.worker.session import Pool

if TYPE_CHECKING:
    from indexd.worker.child import Child


class Hand:
    """One call in hand in `child`."""

    def __init__(self, child: Child, do: wire.Do) -> None:
        self._child = child
        self._do = do

    @property
    def pool(self) -> Pool:
        """The resident models of this process."""
        return self._child.pool

    @property
    def settings(self) -> WorkerSettings:
        """What the worker was told when it started."""
        return self._child.settings

    def spec(self, role: str) -> ModelSpec:
        """The settings of a role, with device and number format as they are in this worker."""
        spec = self._child.settings.models.get(role)
        if spec is None:
            raise ModelOff(role, NO_MODEL.format(role=role))
        return self._child.resolved(spec)

    def between_steps(self) -> None:
        """Serve what is urgent unless this call is urgent itself; raise CallCancelled if this call was cancelled."""
        self._child.check(self._do.number)
        if self._do.priority > Priority.URGENT:
            self._child.serve_urgent()
            self._child.check(self._do.number)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell the caller."""
        self._child.tell(self._do.number, Progress(stage, done, total))
