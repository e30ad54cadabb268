"""Embeds the terms of a search in a worker process, and a fake embedder for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from indexd.errors import IndexdError, ModelUnavailable
from indexd.worker.call_handle import WorkerBackend
from indexd.worker.calls import FACES, Embedded, EmbedImages, EmbedText, FacesFound, FindFaces, Priority

# Long enough to load a large model from a slow disk.
EMBED_TIMEOUT_SECONDS = 600.0


class QueryEmbedder(Protocol):
    """Runs embedding calls of a search.

    Raises ModelUnavailable when the role has no model, another IndexdError when the worker fails.
    """

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        """The vectors of the texts or images of the call."""
        ...

    def find_faces(self, call: FindFaces) -> FacesFound:
        """The regions of the images of the call, and the vectors of the faces. Raises the same errors."""
        ...

    def unavailable_reason(self, role: str) -> str | None:
        """Why the role is off; None when it is on. Loads no model."""
        ...


class WorkerQueryEmbedder:
    """Submits calls with URGENT priority, so that a search also runs between the steps of a render.

    `workers` is called at the first call, so that a command that embeds nothing starts no process. `require_model` raises
    ModelUnavailable for a role without a model before a process is started.
    """

    def __init__(self, workers: Callable[[], WorkerBackend], require_model: Callable[[str], object]) -> None:
        self._workers = workers
        self._require_model = require_model

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        embedded: Embedded = self._submit_and_wait(call.role, call)
        return embedded

    def find_faces(self, call: FindFaces) -> FacesFound:
        found: FacesFound = self._submit_and_wait(FACES, call)
        return found

    def _submit_and_wait(self, role: str, call: EmbedText | EmbedImages | FindFaces) -> Any:
        self._require_model(role)
        try:
            return self._workers().submit(call, priority=Priority.URGENT).result(EMBED_TIMEOUT_SECONDS)
        except TimeoutError:
            raise IndexdError(f"the model of {role} did not respond within {EMBED_TIMEOUT_SECONDS:g} s") from None

    def unavailable_reason(self, role: str) -> str | None:
        try:
            self._require_model(role)
        except ModelUnavailable as error:
            return str(error)
        return None


class FakeQueryEmbedder:
    """An embedder with known vectors that records its calls."""

    def __init__(
        self,
        embed: Callable[[EmbedText | EmbedImages], Embedded],
        find_faces: Callable[[FindFaces], FacesFound] | None = None,
    ) -> None:
        self._embed = embed
        self._find_faces = find_faces
        self.calls: list[EmbedText | EmbedImages | FindFaces] = []

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        self.calls.append(call)
        return self._embed(call)

    def find_faces(self, call: FindFaces) -> FacesFound:
        if self._find_faces is None:
            raise ModelUnavailable(FACES, "no faces were prepared")
        self.calls.append(call)
        return self._find_faces(call)

    def unavailable_reason(self, _role: str) -> str | None:
        return None
