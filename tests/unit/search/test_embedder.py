"""The query embedder between searches and workers."""

from __future__ import annotations

import numpy as np
import pytest

from indexd.errors import IndexdError, ModelUnavailable
from indexd.search.query.query_embedder import WorkerQueryEmbedder
from indexd.worker.call_handle import CallHandle, LaneStatus, OnProgress
from indexd.worker.calls import AnyCall, Embedded, EmbedText, Priority


class OneAnswer:
    """Workers that answer every call with the same thing, or never."""

    def __init__(self, answer: Embedded | None) -> None:
        self.answer = answer
        self.taken: list[tuple[AnyCall, Priority]] = []

    def submit(
        self,
        call: AnyCall,
        *,
        priority: Priority = Priority.JOB,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> CallHandle:
        self.taken.append((call, priority))
        handle = CallHandle(call)
        if self.answer is not None:
            handle.finish(self.answer)
        return handle

    def status(self) -> list[LaneStatus]:
        return []

    def role_problem(self, role: str) -> str | None:
        return None

    def role_fingerprint(self, role: str) -> str | None:
        return None

    def stop(self, deadline: float) -> None:
        raise AssertionError


def test_a_query_has_urgent_priority() -> None:
    answer = Embedded(np.ones((1, 1), dtype=np.float32), "x")
    workers = OneAnswer(answer)
    call = EmbedText("bge", ("words",), as_query=True)
    assert WorkerQueryEmbedder(lambda: workers, str)(call) is answer
    assert workers.taken == [(call, Priority.URGENT)]


def test_a_role_that_is_off_starts_no_worker() -> None:
    def need(role: str) -> None:
        raise ModelUnavailable(role, "no model is set")

    embed = WorkerQueryEmbedder(lambda: pytest.fail("a worker was started"), need)
    assert embed.unavailable_reason("bge") == "bge is off, because no model is set"
    with pytest.raises(ModelUnavailable):
        embed(EmbedText("bge", ("words",)))


def test_a_worker_that_never_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexd.search.query.query_embedder.EMBED_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(IndexdError, match="bge did not respond"):
        WorkerQueryEmbedder(lambda: OneAnswer(None), str)(EmbedText("bge", ("words",)))
