"""Regions keep their ids when they are found again, their vectors are found by region, and whoever builds on them hears."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.search.query.filter_language import parse_filters
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, FacesChanged
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


def test_regions_are_stored_with_their_vectors_and_end_their_index_task(store: IndexStore, library: Library) -> None:
    one, two = library.add("a.png", stages=(FACE_LAYER,)), library.add("b.png", stages=(FACE_LAYER,))
    hand = replace(region(RIGHT, None, "hand"), size_px=33)
    vectors = put(store, seen(store), {one: [region(), hand], two: []})
    face, other = sorted(store.faces.of_image(one), key=lambda row: row.id)
    assert face.region == replace(region(), row=None)
    assert other.region == hand
    assert store.faces.of_image(two) == []
    assert store.faces.counts() == {"face": 1, "hand": 1}
    read = store.faces.vectors()
    assert read.ids.tolist() == [face.id]
    assert np.abs(read.vectors.astype(np.float32) - vectors).max() < 1e-3
    assert store.index_tasks.counts() == {}


def test_a_region_detected_again_keeps_its_id_and_others_are_deleted(store: IndexStore, library: Library) -> None:
    image = library.add("a.png")
    revision = seen(store)
    put(store, revision, {image: [region(LEFT, 0), region(RIGHT, 1)]})
    left, right = sorted(row.id for row in store.faces.of_image(image))
    moved = (0.12, 0.1, 0.2, 0.2)
    vectors = put(store, revision, {image: [region((0.4, 0.6, 0.2, 0.2), 0), region(moved, 1)]}, seed=1)
    rows = {row.id: row.region.box for row in store.faces.of_image(image)}
    new = max(rows)
    assert rows == {left: moved, new: (0.4, 0.6, 0.2, 0.2)}
    assert new > right
    read = store.faces.vectors()
    assert read.ids.tolist() == [left, new]
    assert np.abs(read.vectors.astype(np.float32) - vectors[[1, 0]]).max() < 1e-3


def test_a_region_id_is_never_reused(store: IndexStore, library: Library) -> None:
    image = library.add("a.png")
    revision = seen(store)
    put(store, revision, {image: [region()]})
    (first,) = store.faces.of_image(image)
    put(store, revision, {image: []})
    put(store, revision, {image: [region()]})
    (second,) = store.faces.of_image(image)
    assert second.id > first.id


def test_changes_are_reported_in_order(store: IndexStore, library: Library) -> None:
    heard: list[FacesChanged] = []
    store.faces.subscribe(heard.append)
    image = library.add("a.png")
    revision = seen(store)
    put(store, revision, {image: [region()]})
    (row,) = store.faces.of_image(image)
    put(store, revision, {image: []})
    assert heard == [FacesChanged((row.id,), ()), FacesChanged((), (row.id,))]


def test_other_detectors_or_another_model_queue_every_image_again(store: IndexStore, library: Library) -> None:
    image, faceless = library.add("a.png"), library.add("b.png")
    put(store, seen(store), {image: [region()], faceless: []})
    seen(store)
    assert store.index_tasks.counts() == {}
    revision = store.faces.activate("model/1", DIM, "eyes/2")
    assert store.index_tasks.counts() == {FACE_LAYER: {"pending": 2}}
    assert len(store.faces.vectors().ids) == 1, "the old vectors answer until then"
    put(store, revision, {image: [region()], faceless: []})
    store.faces.activate("model/2", DIM, "eyes/2")
    assert store.index_tasks.counts() == {FACE_LAYER: {"pending": 2}}
    assert len(store.faces.vectors().ids) == 0
    store.faces.put(revision, {image: []}, unit(0))
    assert len(store.faces.of_image(image)) == 1, "a late result of the old model changes nothing"


def test_images_rank_by_their_nearest_face(store: IndexStore, library: Library) -> None:
    images = [library.add(f"{n}.png") for n in range(3)]
    vectors = put(
        store, seen(store), {image: [region(LEFT, 2 * n), region(RIGHT, 2 * n + 1)] for n, image in enumerate(images)}
    )
    near = store.faces.nearest_images(vectors[3], 3)
    assert near[0][0] == images[1]
    assert near[0][1] == pytest.approx(1.0, abs=1e-3)
    assert sorted(image for image, _ in near) == images
    assert store.faces.nearest_images(vectors[3], 3, [images[2]])[0][0] == images[2]
    assert store.faces.scores(vectors[3], images[:2])[images[1]] == pytest.approx(1.0, abs=1e-3)
    assert set(store.faces.scores(vectors[3], images[:2])) == set(images[:2])


def test_images_are_filtered_by_their_regions(store: IndexStore, library: Library) -> None:
    def met(*texts: str) -> set[int]:
        return set(store.filters.ids(parse_filters(texts)) or ())

    store.faces.set_enabled(on=True)
    none, one, two = (library.add(f"{n}.png") for n in range(3))
    unseen = library.add("unseen.png", stages=(FACE_LAYER,))
    assert met("faces:0") == set() and met("faces:1..") == set(), "nothing was looked at yet"
    hand = replace(region(RIGHT, None), kind="hand")
    revision = seen(store)
    put(store, revision, {none: [], one: [region(), hand], two: [region(LEFT, 0), region(RIGHT, 1)]})
    assert met("faces:1") == {one} and met("faces:2..") == {two} and met("faces:1..2") == {one, two}
    assert met("faces:0") == {none}, "of the fourth it is not known yet"
    assert met("faces:..1") == {none, one} and met("-faces:1..") == {none, unseen}
    assert met("faces:9999..") == set()
    assert met("region:hand") == {one} and met("region:FA*") == {one, two} and met("-region:face") == {none, unseen}
    assert met("has:faces") == {one, two} and met("has:region", "-region:hand") == {two}


def test_enabling_faces_again_queues_only_newer_images(store: IndexStore, library: Library) -> None:
    def waiting() -> list[int]:
        return [item.image_id for item in store.index_tasks.claim(FACE_LAYER, 10, 2_000_000.0)]

    early = library.add("early.png")
    store.faces.set_enabled(on=False)
    assert store.index_tasks.counts() == {}, "off from the beginning"
    store.faces.set_enabled(on=True)
    store.faces.set_enabled(on=True)
    assert waiting() == [early]
    put(store, seen(store), {early: []})
    store.faces.set_enabled(on=False)
    late = library.add("late.png")
    assert set(store.filters.ids(parse_filters(["faces:0"])) or ()) == {early}, "of the late one nothing is known"
    store.faces.set_enabled(on=True)
    assert waiting() == [late]
