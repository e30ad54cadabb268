"""Regions keep their ids, their vectors are found by region, and subscribers receive every change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FacesChanged
from indexd.store.sqlite import table_kinds
from indexd.store.sqlite.database import Database
from indexd.store.sqlite.faces.faces import SLICE_FACES
from indexd.store.sqlite.recovery.backup import write_backup
from indexd.store.sqlite.recovery.index_check import check_index
from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.vectors.code_tables import classify_fill_failure
from indexd.vector_index.vector_cache import VectorCache
from indexd.worker.calls import Box, FoundRegion
from tests.unit.store.sample_rows import Library

DIM = 16
LEFT: Box = (0.1, 0.1, 0.2, 0.2)
RIGHT: Box = (0.6, 0.1, 0.2, 0.2)


def region(box: Box = LEFT, row: int | None = 0, kind: str = "face") -> FoundRegion:
    return FoundRegion(kind, "eyes/1", *box, confidence=0.9, size_px=80, sharpness=50.0, quality=0.7, row=row)


def unit(count: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def seen(store: IndexStore) -> int:
    return store.faces.activate("model/1", DIM, "eyes/1")


def put(store: IndexStore, revision: int, found: dict[int, list[FoundRegion]], seed: int = 0) -> NDArray[np.float32]:
    vectors = unit(sum(one.row is not None for many in found.values() for one in many), seed)
    store.faces.put(revision, found, vectors)
    return vectors


def test_a_labelled_face_stays_when_it_is_not_detected_again(
    store: IndexStore, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "index.db")
    with database.write() as connection:
        connection.execute("CREATE TABLE said (region_id INTEGER PRIMARY KEY REFERENCES region (id)) STRICT")
    for module in ("table_kinds", "library.cascade"):
        monkeypatch.setattr(f"indexd.store.sqlite.{module}.USER_DATA_TABLES", (*table_kinds.USER_DATA_TABLES, "said"))
    image = library.add("a.png")
    revision = seen(store)
    put(store, revision, {image: [region(LEFT, 0), region(RIGHT, 1)]})
    kept = min(row.id for row in store.faces.of_image(image))
    with database.write() as connection:
        connection.execute("INSERT INTO said VALUES (?)", (kept,))
    assert [row.id for row in store.faces.with_annotations([image])[image]] == [kept]
    put(store, revision, {image: []})
    assert [row.id for row in store.faces.of_image(image)] == [kept]
    database.close()


def test_forgetting_an_image_deletes_its_faces_and_no_others(store: IndexStore, library: Library) -> None:
    bugs: list[BaseException] = []
    cache = VectorCache(store.vectors, [FACE_LAYER], classify_fill_failure, bugs.append)
    cache.start()
    first, second = library.add("a.png"), library.add("b.png")
    vectors = put(store, seen(store), {first: [region(LEFT, 0), region(RIGHT, 1)], second: [region(LEFT, 2)]})
    cache.wait_until_filled()
    store.files.mark_missing(library.root.id, [b"a.png"], 60.0)
    assert len(store.faces.of_image(first)) == 2, "a vanished picture keeps them"
    missing = list(store.forgetter.missing_files(100.0))
    heard: list[FacesChanged] = []
    store.faces.subscribe(heard.append)
    store.forgetter.forget(missing, [first])
    cache.wait_until_filled()
    assert store.faces.of_image(first) == []
    assert len(heard[0].removed) == 2
    # Region 2 is gone, image 2 is not: ids of the one kind must not be taken for those of the other.
    [(nearest, likeness)] = store.faces.nearest_images(vectors[2], 5)
    assert nearest == second
    assert likeness == pytest.approx(1.0, abs=1e-3)
    cache.stop()
    assert bugs == []


def test_vectors_are_read_in_slices_and_as_one_matrix(store: IndexStore, library: Library) -> None:
    image = library.add("a.png")
    count = SLICE_FACES + 10
    boxes = [(n / count, 0.0, 0.5 / count, 1.0) for n in range(count)]
    vectors = put(store, seen(store), {image: [region(box, n) for n, box in enumerate(boxes)]})
    whole = store.faces.vectors()
    assert whole.vectors.dtype == np.float16
    assert whole.vectors.shape == (count, DIM)
    assert np.abs(whole.vectors - vectors).max() < 1e-3
    assert [len(part.ids) for part in store.faces.iter_vectors()] == [SLICE_FACES, 10]
    some = store.faces.vectors([int(whole.ids[5]), int(whole.ids[2]), 10**9])
    assert some.ids.tolist() == [whole.ids[2], whole.ids[5]]
    assert [row.id for row in store.faces.regions_after(int(whole.ids[-3]), 10)] == whole.ids[-2:].tolist()


def test_a_backup_keeps_regions_and_queues_their_vectors(store: IndexStore, library: Library, tmp_path: Path) -> None:
    image = library.add("a.png")
    put(store, seen(store), {image: [region()]})
    (before,) = store.faces.of_image(image)
    write_backup(store.path, tmp_path / "copy.db")
    with SqliteStore.open(tmp_path / "copy.db") as copy:
        assert copy.index_tasks.counts()[FACE_LAYER] == {"pending": 1}
        put(copy, seen(copy), {image: [region()]})
        assert [row.id for row in copy.faces.of_image(image)] == [before.id]


def test_the_index_check_includes_faces(store: IndexStore, library: Library) -> None:
    image = library.add("a.png")
    put(store, seen(store), {image: [region()]})
    path = store.path
    store.close()
    vectors = [finding for finding in check_index(path, full=True) if finding.name == "vectors"]
    assert [(finding.state, finding.detail) for finding in vectors] == [("ok", "face: 1 vectors, each with its code")]
