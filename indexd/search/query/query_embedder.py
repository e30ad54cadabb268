"""How a question's words and pictures become vectors: the seam to the worker, and a fake of it for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from indexd.errors import IndexdError, ModelUnavailable
from indexd.worker.call_handle import WorkerBackend
from indexd.worker.calls import FACES, Embedded, EmbedImages, EmbedText, FacesFound, FindFaces, Priority

# A big model read from a slow disk on the first question after an idle night.
EMBED_TIMEOUT_SECONDS = 600.0


class QueryEmbedder(Protocol):
    """Answers one embedding call while a person waits.

    Raises ModelOff when the role has no model, another IndexdError when the worker could not do it.
    """

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        """The vectors of the call's texts or pictures."""
        ...

    def find_faces(self, call: FindFaces) -> FacesFound:
        """The regions of the call's pictures and the vectors of their faces; raises as embedding does."""
        ...

    def unavailable_reason(self, role: str) -> str | None:
        """Why the role is off, as a sentence; None when it is on. Loads nothing."""
        ...


class WorkerQueryEmbedder:
    """Asks the workers at URGENT priority: a question also gets its turn between the steps of a render.

    `workers` is called at the first question, so that a command which embeds nothing starts no process. `need` raises
    ModelOff for a role without a model, before anything is started.
    """

    def __init__(self, workers: Callable[[], WorkerBackend], require_model: Callable[[str], object]) -> None:
        self._workers = workers
        self._require_model = require_model

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        """The vectors of the call's texts or pictures."""
        embedded: Embedded = self._submit_and_wait(call.role, call)
        return embedded

    def find_faces(self, call: FindFaces) -> FacesFound:
        """See Embedder."""
        found: FacesFound = self._submit_and_wait(FACES, call)
        return found

    def _submit_and_wait(self, role: str, call: EmbedText | EmbedImages | FindFaces) -> Any:
        self._require_model(role)
        try:
            return self._workers().submit(call, priority=Priority.URGENT).result(EMBED_TIMEOUT_SECONDS)
        except TimeoutError:
            raise IndexdError(f"the model of {role} gave no answer within {EMBED_TIMEOUT_SECONDS:g} s") from None

    def unavailable_reason(self, role: str) -> str | None:
        """See Embedder."""
        try:
            self._require_model(role)
        except ModelUnavailable as error:
            return str(error)
        return None


class FakeQueryEmbedder:
    """An embedder with known vectors that keeps its calls: `answer` makes the `Embedded` of a call, `faces` a FacesFound."""

    def __init__(
        self,
        embed: Callable[[EmbedText | EmbedImages], Embedded],
        find_faces: Callable[[FindFaces], FacesFound] | None = None,
    ) -> None:
        self._embed = embed
        self._find_faces = find_faces
        self.calls: list[EmbedText | EmbedImages | FindFaces] = []

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        """The prepared answer."""
        self.calls.append(call)
        return self._embed(call)

    def find_faces(self, call: FindFaces) -> FacesFound:
        """The prepared answer."""
        if self._find_faces is None:
            raise ModelUnavailable(FACES, "no faces were prepared")
        self.calls.append(call)
        return self._find_faces(call)

    def unavailable_reason(self, _role: str) -> str | None:
        """Every role is on."""
        return None
