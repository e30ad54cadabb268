"""Stages that state attributes: switched on and off, other models, retries, forgotten images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages.attributes import AttributeStage
from indexd.indexing.stages.registry import register_stage, remove_stage
from indexd.registry import AlreadyRegistered
from indexd.store.protocols import IndexStore
from indexd.worker.calls import ImageAttribute, ModelSpec, WorkerSettings
from indexd.worker.fake_workers import FakeWorkers
from tests.unit.indexing.conftest import Clock


class CaptionStage(AttributeStage):
    name = "caption"
    function = "nowhere:captions"


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_stage(CaptionStage)
    yield
    remove_stage(CaptionStage.name)


def test_another_model_captions_every_image_again(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    settings: WorkerSettings,
    models: Path,
) -> None:
    ids = add(None, None)
    store.attributes.set_enabled("caption", on=True)
    with_captions = replace(settings, models={**settings.models, "caption": ModelSpec("caption", str(models))})

    def caption_with(identity: str, text: str) -> None:
        workers = FakeWorkers(identity=identity)
        for path in store.images.paths(ids).values():
            workers.attributes[path] = (ImageAttribute("caption", text),)
        dispatcher = dispatcher_of(workers, with_captions)
        dispatcher.start()
        dispatcher.drain()
        dispatcher.stop()

    caption_with("one", "a sheet of paper")
    (models / "weights").write_bytes(b"another model")
    caption_with("two", "a painted wall")
    assert store.fulltext.match("paper", 10) == []
    assert {image_id for image_id, _ in store.fulltext.match("painted wall", 10)} == set(ids)


def test_images_that_came_while_the_stage_was_off_are_captioned_when_it_is_on(
    store: IndexStore, add: Callable[..., list[int]]
) -> None:
    add(None)
    store.attributes.set_enabled("caption", on=True)
    assert store.index_tasks.counts()["caption"] == {"pending": 1}, "what was indexed before there was such a stage"
    store.index_tasks.mark_done("caption", [1])
    store.attributes.set_enabled("caption", on=False)
    add(None, None)
    for _ in range(2):
        assert store.index_tasks.counts().get("caption") is None
        store.attributes.set_enabled("caption", on=False)
    for _ in range(2):
        store.attributes.set_enabled("caption", on=True)
        assert store.index_tasks.counts()["caption"] == {"pending": 2}


def test_the_stage_follows_the_retry_rules_of_every_stage(
    store: IndexStore,
    add: Callable[..., list[int]],
    dispatcher_of: Callable[..., IndexDispatcher],
    settings: WorkerSettings,
    clock: Clock,
    models: Path,
) -> None:
    (image_id,) = add(None)
    store.attributes.set_enabled("caption", on=True)
    specs = {**settings.models, "caption": ModelSpec("caption", str(models))}
    workers = FakeWorkers(disabled_roles={"caption": "it is damaged"})
    dispatcher = dispatcher_of(workers, replace(settings, models=specs))
    while dispatcher.step():
        pass
    assert dispatcher.blocked_roles() == {"caption": "it is damaged"}
    assert [(row.stage, row.attempts) for row in store.index_tasks.of_image(image_id)] == [("caption", 0)]
    workers.disabled_roles.clear()
    path = store.images.paths([image_id])[image_id]
    workers.attributes[path] = (ImageAttribute("caption", "x" * 9000),)
    clock.now += 60
    while dispatcher.step():
        pass
    (row,) = store.index_tasks.of_image(image_id)
    assert row.error is not None and "more than 8192 characters" in row.error
    workers.attributes[path] = (ImageAttribute("caption", "a fox"),)
    clock.now += 3600
    while dispatcher.step():
        pass
    assert store.index_tasks.counts() == {}
    assert [row.value for row in store.attributes.of_images([image_id])[image_id]] == ["a fox"]


def test_forgetting_an_image_deletes_its_attributes(store: IndexStore, add: Callable[..., list[int]]) -> None:
    one, other = add(None, None)
    for image_id in (one, other):
        store.attributes.put("caption", {image_id: [ImageAttribute("caption", f"number {image_id}")]})
    assert store.fulltext.match(f"number {one}", 5)[0][0] == one
    row = store.images.rows([one])[one].files[0]
    store.files.mark_missing(row.root_id, [row.rel], 1.0)
    store.forgetter.forget(store.forgetter.missing_files(2.0), [one])
    assert list(store.attributes.of_images([one, other])) == [other]
    assert store.fulltext.match(f"number {one}", 5) == []


def test_two_stages_of_one_name_are_refused() -> None:
    class Other(CaptionStage):
        pass

    with pytest.raises(AlreadyRegistered, match="caption"):
        register_stage(Other)
