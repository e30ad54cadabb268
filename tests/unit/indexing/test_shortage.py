"""No file handle is left, at every single moment of thumbnails and layers: whatever was taken is done nevertheless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from indexd.indexing.dispatcher import IndexDispatcher
from indexd.store.protocols import IndexStore
from indexd.worker.calls import WorkerSettings
from indexd.worker.fake_workers import FakeWorkers
from tests.support.handle_shortage import HandleShortage, refuse_each, retry_until_done
from tests.unit.indexing.test_dispatch import drain


@pytest.mark.parametrize("count", [1, 5])
def test_work_comes_through_whenever_handles_are_refused(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, count):
        with shortage.paused():
            add("a fox", negative="blurry")
            add(None)
        dispatcher = dispatcher_of(FakeWorkers())
        retry_until_done(lambda dispatcher=dispatcher: drain(dispatcher))  # type: ignore[misc]
        with shortage.paused():
            assert store.index_tasks.counts() == {}, number


def test_the_question_for_a_replaced_model_is_not_lost_with_the_handles(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    settings: WorkerSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add("a fox")
    drain(dispatcher_of(FakeWorkers(identity="model 0")))
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, 1):
        specs = {role: replace(spec, dtype=f"dtype {number}") for role, spec in settings.models.items()}
        dispatcher = dispatcher_of(FakeWorkers(identity=f"model {number + 1}"), replace(settings, models=specs))
        dispatcher._model_changes._unchecked.add("clip_h")
        retry_until_done(lambda dispatcher=dispatcher: drain(dispatcher))  # type: ignore[misc]
        with shortage.paused():
            active = store.vectors.active_revision("clip_h")
            assert active is not None and active.identity == f"model {number + 1}"


def test_what_was_taken_and_never_sent_is_given_back_at_the_end(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (image_id,) = add(None)
    monkeypatch.setattr("indexd.indexing.dispatcher.POLL_SECONDS", 60.0)
    dispatcher = dispatcher_of(FakeWorkers())
    shortage = HandleShortage(monkeypatch)
    shortage.refuse(0, 1000)
    dispatcher.start()
    dispatcher.stop()
    with shortage.paused():
        assert {(row.state, row.attempts) for row in store.index_tasks.of_image(image_id)} == {("pending", 0)}
