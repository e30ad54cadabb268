"""A new index stage is one file and one table of the settings: this file holds a whole captioning stage.

It runs through the dispatcher and a real worker process; what it states is found by filter and full text, and shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from indexd import config, model_roles
from indexd.api.local import LocalOperations
from indexd.api.operations.images import show
from indexd.cli.app import run
from indexd.errors import NotAnImage, SettingsError
from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.images.decode import open_image
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages import enabled_stages
from indexd.indexing.stages.attributes import AttributeStage
from indexd.indexing.stages.index_stage import ThumbnailTarget
from indexd.indexing.stages.registry import register_stage, remove_stage
from indexd.registry import AlreadyRegistered, IngestContext
from indexd.search.query.filter_language import parse_filters
from indexd.store.sqlite.store import Store
from indexd.worker.calls import AnalyseImages, ImageAttribute, ImagesAnalysed, ModelSpec, WorkerSettings
from indexd.worker.fake_workers import FakeWorkers
from indexd.worker.local_workers import LocalWorkers
from indexd.worker.session import CallSession
from indexd_handlers.image_file import scan_image
from indexd_schemas.api.requests import ImageSelector
from tests.unit.indexing.conftest import Clock

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (20, 20, 210)}


class CaptionStage(AttributeStage):
    """Captions an image by its colour."""

    name = "caption"
    function = f"{__name__}:caption_images"


def caption_images(call: AnalyseImages, session: CallSession) -> ImagesAnalysed:
    """Runs in the worker. The "model" of the settings is a file with the sentence to fill in."""
    sentence = Path(session.spec(call.role).path).read_text("utf-8")
    attributes: list[tuple[ImageAttribute, ...]] = []
    problems: dict[int, str] = {}
    for place, path in enumerate(call.paths):
        session.poll()
        try:
            pixel = open_image(path).resize((1, 1)).getpixel((0, 0))
        except NotAnImage as error:
            problems[place] = str(error)
            attributes.append(())
            continue
        assert isinstance(pixel, tuple)
        channel = max(range(3), key=lambda index: pixel[index])
        colour = list(COLOURS)[channel]
        share = pixel[channel] / sum(pixel)
        attributes.append((ImageAttribute("caption", sentence.format(colour)), ImageAttribute("tag", colour, share)))
    return ImagesAnalysed(tuple(attributes), f"captions/{sentence}", problems)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_stage(CaptionStage)
    yield
    remove_stage(CaptionStage.name)


@pytest.fixture
def loaded(tmp_path: Path) -> config.Config:
    home = tmp_path / "home"
    (home / "output").mkdir(parents=True)
    (home / "model.txt").write_text("a plain sheet of {} paper", "utf-8")
    (home / config.SETTINGS_FILE_NAME).write_text(f'[stages.caption]\npath = "{(home / "model.txt").as_posix()}"\n')
    for name, colour in COLOURS.items():
        Image.new("RGB", (32, 32), colour).save(home / "output" / f"{name}.png")
    return config.read_config(home)


def index_images(store: Store, loaded: config.Config) -> dict[str, int]:
    """The images of the home's output folder, read by the real handler."""
    root = store.roots.ensure(os.fsencode(loaded.paths.output), "images")
    ids = {}
    for path in sorted(loaded.paths.output.glob("*.png")):
        settled = SettledFile(root.id, root.path, os.fsencode(path.name), FileStamp.from_stat(path.stat()), "images")
        recorded = store.images.ingest([scan_image(settled, IngestContext(loaded.settings))], 1.0)
        assert recorded[0].image_id is not None
        ids[path.stem] = recorded[0].image_id
    return ids


def caption_all(store: Store, loaded: config.Config) -> None:
    workers = LocalWorkers(model_roles.worker_settings(loaded))
    thumbnails = ThumbnailTarget(str(loaded.paths.thumbnails), 64)
    dispatcher = IndexDispatcher(store, workers, model_roles.worker_settings(loaded), thumbnails)
    dispatcher.start()
    try:
        dispatcher.drain()
    finally:
        dispatcher.stop()
        workers.stop(10.0)


def test_a_captioning_stage_in_one_file_is_found_filtered_and_shown(
    loaded: config.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(loaded.paths.index) as store:
        store.attributes.set_enabled("caption", on=True)
        ids = index_images(store, loaded)
        caption_all(store, loaded)
        assert store.index_tasks.counts().get("caption") is None

        def matching(text: str) -> list[int]:
            return [int(image_id) for image_id in store.filters.ids(parse_filters([text])) or ()]

        assert store.fulltext.match("green paper", 10)[0][0] == ids["green"]
        assert matching('auto:"a plain sheet of red paper"') == [ids["red"]]
        assert matching("auto:caption=*BLUE*") == [ids["blue"]]
        assert matching("auto:tag=*paper*") == []
        assert sorted(matching("auto:*paper")) == sorted(ids.values())
        assert matching("auto:tag=red>0.5") == [ids["red"]]
        assert matching("auto:red>=0.99") == []
        assert sorted(matching("-auto:red")) == sorted([ids["blue"], ids["green"]])
        assert sorted(matching("has:auto")) == sorted(ids.values())

        shown = LocalOperations(loaded, store).call(show, ImageSelector(target=f"id:{ids['red']}"))
        assert [(one.source, one.key, one.value) for one in shown.attributes] == [
            ("caption", "caption", "a plain sheet of red paper"),
            ("caption", "tag", "red"),
        ]
        assert shown.attributes[1].score == pytest.approx(220 / 280, abs=0.01)
    assert run(["--home", str(loaded.paths.home), "show", f"#{ids['red']}"]) == 0
    assert "caption  a plain sheet of red paper" in capsys.readouterr().out


def test_another_model_captions_every_image_again(
    store: Store,
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
    store: Store, add: Callable[..., list[int]]
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


def test_only_a_table_of_the_settings_switches_a_stage_on(loaded: config.Config, tmp_path: Path) -> None:
    assert "caption" in enabled_stages(loaded.settings)
    assert "caption" not in enabled_stages(config.read_config(tmp_path / "elsewhere").settings)
    (tmp_path / "home" / config.SETTINGS_FILE_NAME).write_text('[stages.bge]\npath = "x"\n')
    with pytest.raises(SettingsError, match="built-in role"):
        config.read_config(tmp_path / "home")


def test_the_stage_follows_the_retry_rules_of_every_stage(
    store: Store,
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


def test_forgetting_an_image_deletes_its_attributes(store: Store, add: Callable[..., list[int]]) -> None:
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
