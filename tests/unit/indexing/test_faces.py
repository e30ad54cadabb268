"""Faces through the pipeline over a real index and a fake worker: found, stored, looked for again, set aside, off."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexd.errors import OutOfMemory, WorkerDied
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER
from indexd.worker.calls import AnyCall, FacesSpec, FindFaces, WorkerSettings
from indexd.worker.fake_workers import DIM, FakeWorkers, seeded_unit_vector
from tests.unit.indexing.conftest import Clock

Add = Callable[..., list[int]]
Dispatchers = Callable[..., IndexDispatcher]


def drain(dispatcher: IndexDispatcher) -> None:
    while dispatcher.step():
        pass


def path_of(store: IndexStore, image_id: int) -> bytes:
    return store.images.paths([image_id])[image_id]


def looks(workers: FakeWorkers) -> list[FindFaces]:
    return [call for call in workers.calls if isinstance(call, FindFaces)]


def test_faces_are_found_in_batches_and_a_picture_without_any_is_done(
    store: IndexStore, add: Add, dispatcher_of: Dispatchers
) -> None:
    ids = add(*(None for _ in range(10)))
    workers = FakeWorkers()
    workers.faces[path_of(store, ids[0])] = []
    workers.faces[path_of(store, ids[1])] = [b"luna", b"orion"]
    drain(dispatcher_of(workers))
    assert store.index_tasks.counts() == {}
    assert [len(call.paths) for call in looks(workers)] == [4, 4, 2]
    assert store.faces.of_image(ids[0]) == []
    luna, orion = sorted(store.faces.of_image(ids[1]), key=lambda row: row.id)
    for row, who in ((luna, b"luna"), (orion, b"orion")):
        vector = store.vectors.get(FACE_LAYER, row.id)
        assert vector is not None and np.abs(vector - seeded_unit_vector(who)).max() < 1e-3
    assert store.faces.nearest_images(seeded_unit_vector(b"luna"), 1)[0][0] == ids[1]


def test_without_a_detector_the_work_waits_and_everything_else_is_done(
    store: IndexStore, add: Add, dispatcher_of: Dispatchers, settings: WorkerSettings
) -> None:
    add("a fox")
    workers = FakeWorkers()
    dispatcher = dispatcher_of(workers, replace(settings, faces=FacesSpec()))
    drain(dispatcher)
    assert store.index_tasks.counts() == {FACE_LAYER: {"pending": 1}}
    assert looks(workers) == []
    assert "no detector is set" in dispatcher.blocked_roles()["faces"]


def test_other_detectors_look_again_and_faces_keep_their_ids(
    store: IndexStore, add: Add, dispatcher_of: Dispatchers, settings: WorkerSettings
) -> None:
    ids = add(None, None)
    drain(dispatcher_of(FakeWorkers()))
    before = [row.id for image_id in ids for row in store.faces.of_image(image_id)]
    workers = FakeWorkers()
    workers.detector_identity = "fake eyes/2"
    # Other settings of the same files, as after an edit of the settings file: asked about at the start.
    changed = replace(settings, faces=replace(settings.faces, padding=0.5))
    dispatcher = dispatcher_of(workers, changed)
    dispatcher.start()
    dispatcher.drain()
    dispatcher.stop()
    assert looks(workers)[0].paths == () and sum(len(call.paths) for call in looks(workers)) == 2
    assert [row.id for image_id in ids for row in store.faces.of_image(image_id)] == before
    store.faces.activate("fake/1", DIM, "fake eyes/2")
    assert store.index_tasks.counts() == {}, "it was the way in which faces are found already"


def test_a_picture_that_cannot_be_decoded_is_set_aside_with_its_reason(
    store: IndexStore, add: Add, dispatcher_of: Dispatchers
) -> None:
    good, bad = add(None, None)
    workers = FakeWorkers()
    real = workers._found_faces

    def unreadable(paths: tuple[bytes, ...]) -> object:
        found = real(paths)
        problems = {n: "cannot be decoded" for n, path in enumerate(paths) if path == path_of(store, bad)}
        return replace(found, problems=problems)

    workers._found_faces = unreadable  # type: ignore[method-assign, assignment]
    drain(dispatcher_of(workers))
    assert len(store.faces.of_image(good)) == 1 and store.faces.of_image(bad) == []
    assert [(row.stage, row.state, row.error) for row in store.index_tasks.of_image(bad)] == [
        (FACE_LAYER, "failed", "cannot be decoded")
    ]


def test_what_kills_the_worker_goes_alone_and_is_set_aside(
    store: IndexStore, add: Add, dispatcher_of: Dispatchers, clock: Clock
) -> None:
    add(None)
    workers = FakeWorkers()
    dispatcher = dispatcher_of(workers)
    drain(dispatcher)  # a new model gives every picture all its attempts again
    ids = add(*(None for _ in range(4)))
    poison = path_of(store, ids[2])

    def poisonous(call: AnyCall) -> bool:
        return isinstance(call, FindFaces) and poison in call.paths

    for _ in range(3):
        workers.fail_next(WorkerDied("it died"), when=poisonous)
    for _ in range(5):
        drain(dispatcher)
        clock.now += 1000
    assert {image_id: len(store.faces.of_image(image_id)) for image_id in ids} == {
        ids[0]: 1, ids[1]: 1, ids[2]: 0, ids[3]: 1,
    }  # fmt: skip
    assert store.index_tasks.counts() == {FACE_LAYER: {"failed": 1}}


def test_too_large_a_batch_is_halved(store: IndexStore, add: Add, dispatcher_of: Dispatchers) -> None:
    add(*(None for _ in range(4)))
    workers = FakeWorkers()
    workers.fail_next(OutOfMemory("no room"), when=lambda call: isinstance(call, FindFaces))
    drain(dispatcher_of(workers))
    assert store.index_tasks.counts() == {}
    assert [len(call.paths) for call in looks(workers)] == [4, 2, 2]


def test_a_detector_that_is_gone_waits_until_it_is_back(
    store: IndexStore, add: Add, dispatcher_of: Dispatchers, models: Path
) -> None:
    add(None)
    file = models / "weights"
    data = file.read_bytes()
    file.unlink()
    dispatcher = dispatcher_of(FakeWorkers())
    drain(dispatcher)
    assert store.index_tasks.counts() == {FACE_LAYER: {"pending": 1}}
    assert dispatcher.blocked_roles()["faces"].startswith(f"there is nothing at {file}")
    file.write_bytes(data)
    drain(dispatcher)
    assert store.index_tasks.counts() == {}


@pytest.mark.parametrize("missing", [True, False])
def test_a_picture_that_is_away_is_looked_at_when_it_is_back(
    store: IndexStore, add: Add, dispatcher_of: Dispatchers, clock: Clock, missing: bool
) -> None:
    (image_id,) = add(None)
    path = Path(os.fsdecode(path_of(store, image_id)))
    data = path.read_bytes()
    path.unlink()
    dispatcher = dispatcher_of(FakeWorkers())
    if missing:
        store.files.mark_missing(store.roots.all()[0].id, [os.fsencode(path.name)], 1.0)
    drain(dispatcher)
    assert store.index_tasks.counts()[FACE_LAYER] == {"blocked" if missing else "pending": 1}
    path.write_bytes(data)
    if missing:
        (row,) = store.images.rows([image_id])[image_id].files
        store.files.update_stamps(row.root_id, [(row.rel, row.stamp)])
    else:
        clock.now += 1000
    drain(dispatcher)
    assert len(store.faces.of_image(image_id)) == 1
