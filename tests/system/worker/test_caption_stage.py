"""A new index stage is one file and one table of the settings: this file holds a whole captioning stage.

It runs through the dispatcher and a real worker process; what it states is found by filter and full text, and shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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
from indexd.registry import IngestContext
from indexd.search.query.filter_language import parse_filters
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import AnalyseImages, ImageAttribute, ImagesAnalysed
from indexd.worker.local_workers import LocalWorkers
from indexd.worker.session import CallSession
from indexd_schemas.api.requests import ImageSelector
from tests.support.scanning import scan_image

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


def index_images(store: IndexStore, loaded: config.Config) -> dict[str, int]:
    """The images of the home's output folder, read by the real handler."""
    root = store.roots.ensure(os.fsencode(loaded.paths.output), "images")
    ids = {}
    for path in sorted(loaded.paths.output.glob("*.png")):
        settled = SettledFile(root.id, root.path, os.fsencode(path.name), FileStamp.from_stat(path.stat()), "images")
        recorded = store.images.ingest([scan_image(settled, IngestContext(loaded.settings))], 1.0)
        assert recorded[0].image_id is not None
        ids[path.stem] = recorded[0].image_id
    return ids


def caption_all(store: IndexStore, loaded: config.Config) -> None:
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
    with SqliteStore.open(loaded.paths.index) as store:
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


def test_only_a_table_of_the_settings_switches_a_stage_on(loaded: config.Config, tmp_path: Path) -> None:
    assert "caption" in enabled_stages(loaded.settings)
    assert "caption" not in enabled_stages(config.read_config(tmp_path / "elsewhere").settings)
    (tmp_path / "home" / config.SETTINGS_FILE_NAME).write_text('[stages.bge]\npath = "x"\n')
    with pytest.raises(SettingsError, match="built-in role"):
        config.read_config(tmp_path / "home")
