"""Stored metadata read again: texts, child rows and words follow, marks stay, and only what changed is embedded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexd.api import library_changes
from indexd.api.context import DaemonContext
from indexd.api.library_changes import reparse_metadata
from indexd.api.local import LocalOperations
from indexd.api.operations.library import reparse
from indexd.config import read_config
from indexd.image_metadata.model import PARSER_VERSION, ImageMetadata, MetadataLora, RawChunk
from indexd.images.reader_client import parse_stored_texts
from indexd.store.sqlite.library.image_writer import METADATA_LOST
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.requests import ReparseRequest
from tests.support.sample_library import DIM, SampleLibrary, normalize
from tests.unit.api.test_local_operations import Desk, Watching, Working

TEXT = "a red {what}\nNegative prompt: {negative}\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {seed}, Size: 64x64"
VECTOR = normalize(np.arange(1, DIM + 1, dtype=np.float32))


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SampleLibrary]:
    """Three pictures whose texts were read wrongly by a reader of long ago, and one that the present one read."""
    with SqliteStore.open(tmp_path / "index.db") as store:
        (tmp_path / "pictures").mkdir()
        library = SampleLibrary(
            store, tmp_path / "pictures", store.roots.ensure(bytes(tmp_path / "pictures"), "images").id
        )
        for number, (prompt, negative) in enumerate((("wrong", "blurry"), ("a red house", "old"), ("gone", "x"))):
            raw = RawChunk("png:parameters", "utf-8", TEXT.format(what="house", negative="blurry", seed=number))
            library.add(
                f"{number}.png",
                ImageMetadata(
                    generator="a1111",
                    prompt=prompt,
                    negative_prompt=negative,
                    seed="999",
                    loras=(MetadataLora("not there", 1.0),),
                    raw=(raw,) if number < 2 else (),
                    created_at=5.0,
                    parser_version=0,
                ),
            )
        library.add("3.png", ImageMetadata(prompt="as it should be", parser_version=PARSER_VERSION))
        names = list(library.ids)
        for layer, of in (("bge_prompt", "prompt"), ("bge_negative", "negative_prompt"), ("clip_h", "image")):
            library.embed(layer, dict.fromkeys(names, VECTOR), of=of)
        # The vectors of a model that was used before, and may come back.
        library.embed("clip_l", dict.fromkeys(names, VECTOR), of="prompt", identity="old model")
        library.embed("clip_l", dict.fromkeys(names, VECTOR), of="prompt", identity="new model")
        store.annotations.rate([1], 5)
        store.annotations.tag([1], ["keep"])
        yield library


def test_what_newer_readers_say_takes_the_place_of_what_older_ones_said(library: SampleLibrary) -> None:
    store = library.store
    outcome = reparse_metadata(store, ReparseRequest(limit=100))
    assert (outcome.read, outcome.changed, outcome.last_id, outcome.left) == (3, 3, 3, 0)
    first = store.images.get(1)
    assert first is not None
    assert (first.prompt, first.negative_prompt, first.seed, first.loras) == ("a red house", "blurry", "0", ())
    assert (first.rating, first.tags) == (5, ("keep",))
    # The older reader took a date that the texts do not state. The file is newer than its first sighting (the fixture's
    # clock), so that its time is not plausible.
    assert (first.created_at, first.created_from) == (1_760_000_000.0, None)
    assert store.images.raw_chunks(1)[0].text.startswith("a red house")
    assert {hit for hit, _ in store.fulltext.match("red house", 10)} == {1, 2}
    assert store.fulltext.match("wrong", 10) == []
    assert store.fulltext.match("keep", 10)[0][0] == 1
    again = reparse_metadata(store, ReparseRequest(limit=100))
    assert (again.read, again.last_id) == (0, None)


def test_changed_metadata_wakes_the_index_dispatcher(library: SampleLibrary, tmp_path: Path) -> None:
    woken: list[bool] = []
    daemon = DaemonContext(
        Watching(b"/x"), Working(), Desk(library.store), 1.0, signal_new_work=lambda: woken.append(True)
    )
    operations = LocalOperations(read_config(tmp_path), library.store, daemon)
    assert operations.call(reparse, ReparseRequest(limit=100)).changed == 3
    assert operations.call(reparse, ReparseRequest(limit=100)).changed == 0
    assert woken == [True]


def test_only_texts_that_changed_are_embedded_again(library: SampleLibrary) -> None:
    store = library.store
    reparse_metadata(store, ReparseRequest(limit=100))
    waiting = {
        stage: [row.image_id for i in range(1, 5) for row in store.index_tasks.of_image(i) if row.stage == stage]
        for stage in ("bge_prompt", "bge_negative", "clip_l", "clip_h")
    }
    assert waiting["bge_prompt"] == [1]
    assert waiting["clip_l"] == [1]
    assert waiting["bge_negative"] == [2]
    assert waiting["clip_h"] == []
    # Until its new vector is there the old one answers; of a text that is gone nothing answers.
    assert store.vectors.get("bge_prompt", 1) is not None
    assert store.vectors.get("bge_prompt", 3) is None
    assert store.vectors.get("bge_negative", 3) is None
    assert [hit for hit, _ in store.vectors.nearest("bge_prompt", VECTOR, 10)] == [1, 2, 4]
    # The vectors of the model of before are those of the old text, so they must not come back with it.
    store.vectors.activate("clip_l", "old model", DIM, "prompt")
    assert store.vectors.get("clip_l", 1) is None
    assert store.vectors.get("clip_l", 2) is not None
    assert [row.state for row in store.index_tasks.of_image(1) if row.stage == "clip_l"] == ["pending"]


def test_slices_go_on_where_the_last_one_ended(library: SampleLibrary) -> None:
    store = library.store
    one = reparse_metadata(store, ReparseRequest(limit=2))
    assert (one.read, one.last_id, one.left) == (2, 2, 1)
    two = reparse_metadata(store, ReparseRequest(after=2, limit=2))
    assert (two.read, two.last_id, two.left) == (1, 3, 0)


def test_all_means_all_but_what_only_its_file_can_say(library: SampleLibrary) -> None:
    store = library.store
    with store._database.write() as connection:
        connection.execute("UPDATE image SET parser_version = ? WHERE id = 2", (METADATA_LOST,))
    outcome = reparse_metadata(store, ReparseRequest(limit=100, everything=True))
    assert (outcome.read, outcome.changed) == (3, 3)
    assert reparse_metadata(store, ReparseRequest(limit=100, everything=True)).changed == 0
    second = store.images.get(2)
    assert second is not None
    assert second.seed == "999"


def test_problems_of_the_file_stay_and_those_of_a_reader_are_found_anew(
    library: SampleLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = library.store
    told = "a text chunk is cut short; the reader of a1111 failed: KeyError"
    with store._database.write() as connection:
        connection.execute("UPDATE image SET parse_problem = ? WHERE id = 1", (told,))
    reparse_metadata(store, ReparseRequest(limit=100))
    assert store.images.parse_problems([1]) == {1: "a text chunk is cut short"}


def test_a_newer_reader_makes_all_pictures_old(library: SampleLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    store = library.store
    reparse_metadata(store, ReparseRequest(limit=100))
    monkeypatch.setattr(library_changes, "PARSER_VERSION", PARSER_VERSION + 1)
    monkeypatch.setattr(
        library_changes,
        "parse_stored_texts",
        lambda images: [
            replace(one, parser_version=PARSER_VERSION + 1, model_name="new") for one in parse_stored_texts(images)
        ],
    )
    outcome = reparse_metadata(store, ReparseRequest(limit=100))
    assert (outcome.read, outcome.changed) == (4, 4)
    assert reparse_metadata(store, ReparseRequest(limit=100)).read == 0
