"""The commands of characters and samples, over a real index without a daemon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from indexd.characters.clustering.vector_file import normalize_rows
from indexd.config import read_config
from indexd.errors import EXIT_NO_DAEMON, EXIT_NOTHING_FOUND, EXIT_USAGE
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import FoundRegion
from tests.support.sample_library import DIM, SampleLibrary
from tests.unit.cli.conftest import Indexd

PICTURES = 8


@pytest.fixture
def faces(home: Path, library: SampleLibrary) -> list[int]:
    """Region ids: in each picture the left half is character 1's face, in the first four the right is character 2's."""
    with SqliteStore.open(read_config(home).paths.index) as store:
        images = list(library.ids.values())[:PICTURES]
        revision = store.faces.activate("toy/1", DIM, "eyes/1")
        chance = np.random.default_rng(1)
        found, rows = dict[int, list[FoundRegion]](), list[NDArray[np.float64]]()
        for number, image in enumerate(images):
            found[image] = [region(0.0, len(rows), 0.5 + number / 20)]
            rows.append(np.eye(DIM)[0] + chance.normal(scale=0.05, size=DIM) + (number < 2) * np.eye(DIM)[5])
            if number < 4:
                found[image].append(region(0.5, len(rows), 0.4))
                rows.append(np.eye(DIM)[1] + chance.normal(scale=0.05, size=DIM))
        store.faces.put(revision, found, normalize_rows(np.array(rows, np.float32)))
        lefts = [next(row.id for row in store.faces.of_image(one) if row.region.left == 0) for one in images]
        ids = store.faces.vectors().ids
        after = np.where(np.isin(ids, lefts), -1, -2)
        assert store.characters.apply_clustering(ids, lambda known: after).created == (1, 2)
    return lefts


def region(left: float, row: int, quality: float) -> FoundRegion:
    return FoundRegion("face", "eyes/1", left, 0.1, 0.4 if left else 0.45, 0.5, 0.9, 30, 5.0, quality, row)


def test_characters_are_listed_named_shown_and_asked_for(
    indexd: Indexd, library: SampleLibrary, faces: list[int]
) -> None:
    assert indexd("characters", "name", "1", "Luna").out == "named 1 Luna  (indexd characters undo 1)\n"
    listed = indexd("characters", "list", "--json").json
    assert [(one["id"], one["name"], one["faces"], one["curated"]) for one in listed["characters"]] == [
        (1, "Luna", 8, True),
        (2, None, 4, False),
    ]
    assert listed["unassigned"] == 0
    assert "2 characters; 0 of 12 faces have no character" in indexd("characters", "list").out
    shown = indexd("characters", "show", "luna", "-n", "3", "--json").json
    assert len(shown["faces"]) == 3
    assert {face["region"] for face in shown["faces"]} <= set(faces)
    asked = indexd("query", "--character", "LUNA", "-n", "50", "--json").json
    assert len(asked["hits"]) == 8
    assert len(indexd("query", "character:2..", "--json").json["hits"]) == 4
    assert len(indexd("query", "character:lu*", "-character:#2", "--json").json["hits"]) == 4
    assert indexd("query", "character:..1", "--json").json["hits"] != []
    picture = indexd("show", library.path("cats/cat-0.png"), "--json").json
    assert [(face["character"], face["character_name"]) for face in picture["regions"]] == [(1, "Luna"), (2, None)]
    assert ", Luna" in indexd("show", library.path("cats/cat-0.png")).out


def test_what_is_wrong_is_refused_with_what_to_do(indexd: Indexd, library: SampleLibrary, faces: list[int]) -> None:
    indexd("characters", "name", "1", "Luna")
    ran = indexd("characters", "show", "Lnua")
    assert ran.code == EXIT_NOTHING_FOUND
    assert "there is no character 'Lnua'; did you mean Luna? `indexd characters list` shows them" in ran.err
    assert "character 2 has no name" in indexd("characters", "name", "2", "").err
    ran = indexd("characters", "name", "2", "12")
    assert ran.code == EXIT_USAGE
    assert "a name needs a letter" in ran.err
    assert "a new character needs a name" in indexd("characters", "new", "", "1").err
    ran = indexd("characters", "confirm", "2", library.path("cats/cat-0.png"))
    assert ran.code == EXIT_USAGE
    assert "has 2 faces; say which" in ran.err
    assert "has 2 faces, not 3" in indexd("characters", "confirm", "2", library.path("cats/cat-0.png") + ":3").err
    assert "there is no face 999" in indexd("characters", "reject", "2", "999").err
    assert "say how to split" in indexd("characters", "split", "1").err
    assert "all faces of Luna stay together" in indexd("characters", "split", "1", "--min-similarity", "0.1").err


def test_corrections_are_made_and_undone(indexd: Indexd, library: SampleLibrary, faces: list[int]) -> None:
    assert indexd("characters", "merge", "1", "2").code == 0
    assert indexd("characters", "list", "--json").json["characters"][0]["faces"] == 12
    assert "was merged into 1" in indexd("characters", "show", "2").err
    assert indexd("characters", "undo").out == "undid 1: merged 2 into 1\n"
    assert indexd("characters", "split", "1", "--min-similarity", "0.8", "--json").json["made"] == [3]
    assert [one["faces"] for one in indexd("characters", "list", "--json").json["characters"]] == [6, 4, 2]
    indexd("characters", "undo")
    indexd("characters", "reject", "1", library.path("cats/cat-0.png"))
    assert len(indexd("query", "character:1", "--json", "-n", "50").json["hits"]) == 7
    indexd("characters", "confirm", "2", library.path("cats/cat-0.png") + ":1")
    assert indexd("characters", "show", "2", "--json").json["character"]["confirmed"] == 1
    indexd("characters", "hide", "2")
    assert len(indexd("characters", "list", "--json").json["characters"]) == 1
    assert (
        "created Mara (4) from face" in indexd("characters", "new", "Mara", library.path("cats/cat-0.png") + ":1").out
    )
    assert indexd("characters", "show", "mara", "--json").json["character"]["confirmed"] == 1
    indexd("characters", "undo")
    log = indexd("characters", "undo", "--list", "--json").json["corrections"]
    assert [entry["kind"] for entry in log] == [
        *("undo", "new", "hide", "confirm", "reject", "undo", "split", "undo", "merge")
    ]
    assert indexd("characters", "undo", "1").code == EXIT_USAGE


def test_a_character_is_seen_on_a_sheet_and_sampled(
    indexd: Indexd, library: SampleLibrary, faces: list[int], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    assert "8 faces on" in indexd("characters", "show", "1", "--sheet", str(sheet)).err
    with Image.open(sheet) as drawn:
        assert drawn.width > 8 * 100
        # The first face is cut out of its picture, which is of one colour.
        assert drawn.getpixel((8 + 80, 8 + 80)) != (0x23, 0x26, 0x2E)
    best = indexd("sample", "--character", "1", "--strategy", "best", "-n", "2").out.splitlines()
    assert best == [library.path(name) for name in list(library.ids)[PICTURES - 1 : PICTURES - 3 : -1]]
    sampled = indexd("sample", "--character", "1", "character:2", "--json").json
    assert (len(sampled["images"]), sampled["among"]) == (4, 4)
    diverse = indexd("sample", "path:*.png", "-n", "4").out.splitlines()
    assert len({Path(path).parent.name for path in diverse}) == 4
    assert len(indexd("sample", "model:pony*", "--strategy", "random", "-n", "3").out.splitlines()) == 3
    assert indexd("sample").code == EXIT_USAGE


@pytest.mark.starts_process
def test_a_clustering_without_a_daemon_keeps_what_was_named(
    indexd: Indexd, library: SampleLibrary, faces: list[int]
) -> None:
    indexd("characters", "name", "1", "Luna")
    ran = indexd("characters", "cluster", "--json")
    assert (ran.code, ran.json["state"], ran.json["faces"]) == (0, "done", 12)
    assert (ran.json["joined"], ran.json["moved"]) == (0, 4)
    # Twelve faces are no group; the one with a name keeps its faces, the other one's are nobody's.
    assert [(one["name"], one["faces"]) for one in indexd("characters", "list", "--json").json["characters"]] == [
        ("Luna", 8)
    ]
    assert indexd("characters", "cluster", "--no-wait").code == EXIT_NO_DAEMON


def test_names_and_what_was_said_travel_to_another_index(
    indexd: Indexd, home: Path, library: SampleLibrary, faces: list[int], tmp_path: Path
) -> None:
    indexd("characters", "confirm", "2", str(faces[1]))
    assert "not written: what was put right of 1 characters that have no name" in indexd("export").err
    assert indexd("characters", "undo").code == 0
    for command in (
        ("name", "1", "Luna"),
        ("name", "2", "Mara"),
        ("confirm", "Luna", str(faces[0])),
        ("reject", "Mara", str(faces[1])),
    ):
        assert indexd("characters", *command).code == 0
    kept = tmp_path / "kept.jsonl"
    assert indexd("export", "-o", str(kept)).code == 0
    again = indexd("import", str(kept), "--json").json
    assert (again["changed"], again["same"]) == (0, PICTURES)
    with SqliteStore.open(read_config(home).paths.index) as store:
        images, regions = list(library.ids.values())[:PICTURES], store.faces.face_ids()
        found = {one: [row.region for row in store.faces.of_image(one)] for one in images}
        assert len(regions) == 12
    read_config(home).paths.index.rename(tmp_path / "away.db")
    with SqliteStore.open(read_config(home).paths.index) as store:
        fresh = SampleLibrary(store, library.root, store.roots.ensure(bytes(library.root), "images").id)
        first = fresh.add("cats/cat-0.png")
        assert first is not None
    assert indexd("import", str(kept), "--json").json["pending"] == PICTURES - 1
    with SqliteStore.open(read_config(home).paths.index) as store:
        fresh = SampleLibrary(store, library.root, store.roots.ensure(bytes(library.root), "images").id)
        revision = store.faces.activate("toy/1", DIM, "eyes/1")
        for name, image in zip(list(library.ids)[:PICTURES], images, strict=True):
            new = fresh.add(name)
            boxes = [
                FoundRegion("face", "eyes/1", *one.box, 0.9, 30, 5.0, 0.5, row) for row, one in enumerate(found[image])
            ]
            store.faces.put(revision, {new: boxes}, np.eye(DIM, dtype=np.float32)[: len(boxes)])
    assert {
        one["name"]: (one["faces"], one["confirmed"])
        for one in indexd("characters", "list", "--json").json["characters"]
    } == {
        "Luna": (8, 1),
        "Mara": (4, 0),
    }
