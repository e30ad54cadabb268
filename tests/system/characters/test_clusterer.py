"""From stored vectors to characters, through the worker's call, again and again, with corrections in between."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexd.characters.clustering_service import ClusteringService
from indexd.characters.evaluation.clustering_metrics import adjusted_rand_index, precision_recall
from indexd.characters.face_assigner import FaceAssigner
from indexd.characters.operations import suggest_corrections
from indexd.errors import IndexdError
from indexd.store.protocols import IndexStore
from indexd.worker.calls import CallProgress, ClusterFaces, WorkerSettings
from indexd.worker.local_workers import LocalWorkers
from indexd_schemas.api.characters import Suggestions
from tests.support.handle_shortage import HandleShortage
from tests.support.processes import has_loaded_torch
from tests.unit.characters.labelled_faces import faces, names_of
from tests.unit.characters.library import FaceLibrary, HereWorkers

WAIT = 180.0


def cluster(clusterer: ClusteringService) -> None:
    assert clusterer.begin()
    standing = clusterer.wait(WAIT)
    assert (standing.state, standing.problem) == ("done", "")


def test_faces_become_characters_and_new_ones_are_given_to_them_at_once(
    face_library: FaceLibrary, assigner: FaceAssigner, clusterer: ClusteringService, tmp_path: Path
) -> None:
    face_library.add(faces(400))
    cluster(clusterer)
    standing = clusterer.progress()
    assert (standing.faces, standing.made) == (400, 8)
    assert list((tmp_path / "cache").iterdir()) == []
    whose = face_library.whose()
    truth = np.array(face_library.truth)
    assert adjusted_rand_index(truth, np.where(whose > 0, whose, -1)) >= 0.97
    ids = names_of(whose, truth)
    assigner.start()
    new = faces(100, part=1)
    regions = face_library.add(new)
    assert assigner.wait_idle(WAIT)
    given = face_library.whose(regions.tolist())
    expected = np.array([ids.get(one, -1) for one in new.truth.tolist()])
    precision, recall = precision_recall(expected, np.where(given > 0, given, -1))
    assert precision >= 0.98
    assert recall >= 0.9


def test_a_start_without_handles_costs_new_faces_only_the_time_until_there_are_some(
    store: IndexStore, face_library: FaceLibrary, clusterer: ClusteringService, monkeypatch: pytest.MonkeyPatch
) -> None:
    face_library.add(faces(400))
    cluster(clusterer)
    monkeypatch.setattr("indexd.characters.face_assigner.RETRY_SECONDS", 0.01)
    later = FaceAssigner(store, 0.75, 0.05)
    shortage = HandleShortage(monkeypatch)
    shortage.refuse(2, 1000)
    later.start()
    while not shortage.was_reached:
        time.sleep(0.001)
    shortage.refuse(0, 0)
    regions = face_library.add(faces(100, part=1))
    end = time.monotonic() + WAIT
    while not (face_library.whose(regions.tolist()) > 0).any():
        assert time.monotonic() < end, "nobody got a new face"
        time.sleep(0.01)
    later.stop()


def test_a_clustering_that_gets_no_thread_is_not_under_way_for_ever(
    face_library: FaceLibrary, clusterer: ClusteringService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    face_library.add(faces(20))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        with pytest.raises(IndexdError, match="thread"):
            clusterer.begin()
    cluster(clusterer)


def test_stop_cancels_the_clustering_that_runs_and_refuses_the_next(
    store: IndexStore, face_library: FaceLibrary, clusterer: ClusteringService, workers: HereWorkers
) -> None:
    face_library.add(faces(20))
    submit = workers.submit

    def submitted(call: ClusterFaces, **given: object) -> object:
        clusterer.stop()
        return submit(call, **given)  # type: ignore[arg-type]

    workers.submit = submitted  # type: ignore[assignment, method-assign]
    assert clusterer.begin()
    assert clusterer.wait(WAIT).state == "cancelled"
    assert clusterer.join(WAIT)
    assert store.characters.rows() == []
    with pytest.raises(IndexdError, match="stopping"):
        clusterer.begin()


def test_corrections_survive_a_clustering_and_ids_stay(
    store: IndexStore, face_library: FaceLibrary, assigner: FaceAssigner, clusterer: ClusteringService
) -> None:
    face_library.add(faces(400))
    cluster(clusterer)
    ids = names_of(face_library.whose(), np.array(face_library.truth))
    store.corrections.set_name(ids[0], "Luna")
    store.corrections.merge(ids[1], [ids[2]])
    _, (new,) = store.corrections.split(ids[3], [[m.region_id for m in store.characters.members([ids[3]])][:6]])
    wrong = store.characters.members([ids[4]])[0].region_id
    store.corrections.reject(ids[4], [wrong])
    parted = [member.region_id for member in store.characters.members([new])]
    before = face_library.whose()
    for part in (1, 2):
        face_library.add(faces(40, part))
        cluster(clusterer)
    after = face_library.whose()[: len(before)]
    held = before > 0
    assert (after == before)[held].mean() >= 0.99
    assert store.characters.memberships_by_region([wrong]).get(wrong) is None or (
        store.characters.memberships_by_region([wrong])[wrong].character_id != ids[4]
    )
    assert {member.character_id for member in store.characters.memberships_by_region(parted).values()} == {new}
    assert store.characters.rows(hidden=True, empty=True)[0].id in ids.values()
    luna = store.characters.find_by_name("luna")
    assert luna is not None
    assert luna.faces >= (np.array(face_library.truth)[: len(before)] == 0).sum() - 2


def test_a_cancelled_or_failed_clustering_changes_nothing(
    store: IndexStore, face_library: FaceLibrary, clusterer: ClusteringService, workers: HereWorkers, tmp_path: Path
) -> None:
    face_library.add(faces(200))
    workers.cancel_at = "finding neighbours"
    clusterer.begin()
    assert clusterer.wait(WAIT).state == "cancelled"
    assert store.characters.rows() == []
    assert clusterer.is_due()
    (tmp_path / "cache" / "faces-to-cluster.f16").mkdir()
    workers.cancel_at = ""
    clusterer.begin()
    failed = clusterer.wait(WAIT)
    assert failed.state == "failed"
    assert "faces-to-cluster" in failed.problem
    (tmp_path / "cache" / "faces-to-cluster.f16").rmdir()
    cluster(clusterer)
    assert len(store.characters.rows()) == 8
    assert not clusterer.is_due()


def test_what_may_be_wrong_is_suggested_until_a_person_has_said_that_it_is_right(
    store: IndexStore, face_library: FaceLibrary, clusterer: ClusteringService
) -> None:
    face_library.add(faces(400))
    cluster(clusterer)
    assert suggest_corrections(store) == Suggestions(splits=[], merges=[])
    ids = names_of(face_library.whose(), np.array(face_library.truth))
    store.corrections.merge(ids[0], [ids[1]])
    theirs = [member.region_id for member in store.characters.members([ids[2]])]
    _, (half,) = store.corrections.split(ids[3], [[m.region_id for m in store.characters.members([ids[3]])][::2]])
    store.corrections.set_hidden(ids[4], True)
    found = suggest_corrections(store)
    assert [split.character.id for split in found.splits] == [ids[0]]
    parts = {int(face_library.truth[face_library.regions.index(region)]) for region in found.splits[0].faces}
    assert len(parts) == 1
    # What a person split is not suggested to be one.
    assert found.merges == []
    made = store.characters.apply_clustering(
        np.array(theirs), lambda known: np.where(np.arange(len(theirs)) % 2, ids[2], -1)
    ).created
    assert [(pair.one.id, pair.other.id) for pair in suggest_corrections(store).merges] == [(ids[2], made[0])]
    store.corrections.keep_apart(made[0], ids[2])
    assert suggest_corrections(store).merges == []
    assert half not in {split.character.id for split in found.splits}


def test_nothing_to_cluster_is_no_error(clusterer: ClusteringService) -> None:
    cluster(clusterer)
    assert clusterer.progress().faces == 0


def test_the_worker_clusters_in_a_process_without_torch(
    face_library: FaceLibrary, assigner: FaceAssigner, store: IndexStore, tmp_path: Path
) -> None:

    workers = LocalWorkers(WorkerSettings({}, str(tmp_path)))
    try:
        face_library.add(faces(200))
        clusterer = ClusteringService(store, lambda: workers, assigner, tmp_path, 10)
        begun = threading.Event()
        torch: list[bool] = []
        submit = workers.submit

        def watched(call: ClusterFaces, **given: object) -> object:
            tell = given["on_progress"]

            def looked(progress: object) -> None:
                if not begun.is_set():
                    (lane,) = workers.status()
                    assert lane.lane == "cluster"
                    assert lane.pid is not None
                    torch.append(has_loaded_torch(lane.pid))
                    begun.set()
                tell(progress)  # type: ignore[operator]

            given["on_progress"] = looked
            return submit(call, **given)  # type: ignore[arg-type]

        workers.submit = watched  # type: ignore[assignment, method-assign]
        cluster(clusterer)
        assert torch == [False]
        assert len(store.characters.rows()) == 8
    finally:
        workers.kill()


def test_a_clustering_is_cancelled_in_the_middle_of_its_work(
    face_library: FaceLibrary, assigner: FaceAssigner, store: IndexStore, tmp_path: Path
) -> None:
    workers = LocalWorkers(WorkerSettings({}, str(tmp_path)))
    stages: list[str] = []
    submit = workers.submit
    clusterer = ClusteringService(store, lambda: workers, assigner, tmp_path, 10)

    def submitted(call: ClusterFaces, **given: object) -> object:
        tell = given["on_progress"]

        def cancelled(progress: CallProgress) -> None:
            stages.append(progress.stage)
            if len(stages) == 1:
                clusterer.cancel()
            tell(progress)  # type: ignore[operator]

        return submit(call, **{**given, "on_progress": cancelled})  # type: ignore[arg-type]

    try:
        face_library.add(faces(2000))
        workers.submit = submitted  # type: ignore[assignment, method-assign]
        assert clusterer.begin()
        assert clusterer.wait(WAIT).state == "cancelled"
        assert "choosing groups" not in stages
        assert store.characters.rows() == []
        assert not (tmp_path / "faces-to-cluster.f16").exists()
        workers.submit = submit  # type: ignore[method-assign]
        cluster(clusterer)  # the same process serves the next one
        assert len(store.characters.rows()) == 8
    finally:
        workers.kill()
