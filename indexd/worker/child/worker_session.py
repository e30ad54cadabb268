"""The session of a call in the worker process; see session.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexd.errors import ModelUnavailable
from indexd.worker import protocol
from indexd.worker.calls import CallProgress, ModelSpec, Priority, WorkerSettings
from indexd.worker.role_availability import NO_MODEL_REASON
from indexd.worker.session import Pool

if TYPE_CHECKING:
    from indexd.worker.child.call_server import CallServer


class WorkerSession:
    """The session of one started call."""

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
