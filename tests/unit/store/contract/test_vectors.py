"""Vectors: what is put is found, revisions are never mixed, and codes are exchanged under the eyes of questions."""

from __future__ import annotations

import numpy as np
import pytest

from indexd.store.protocols import IndexStore
from tests.unit.store.sample_rows import Library, unit_vectors

DIM = 64


def _filled(store: IndexStore, library: Library, count: int) -> tuple[list[int], np.ndarray]:
    ids = library.add_many(count, stages=("clip_h",))
    revision = store.vectors.activate("clip_h", "model-1", DIM, "image")
    vectors = unit_vectors(count, DIM)
    store.vectors.put("clip_h", revision, ids, vectors)
    return ids, vectors


def _truth(ids: list[int], vectors: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    return [ids[at] for at in np.argsort(-(vectors @ query), kind="stable")[:k]]


def test_storing_a_vector_ends_its_index_task(store: IndexStore, library: Library) -> None:
    ids, vectors = _filled(store, library, 30)
    found = store.vectors.get("clip_h", ids[3])
    assert found is not None
    assert found.dtype == np.float32
    assert np.abs(found - vectors[3]).max() < 1e-3
    assert store.index_tasks.counts() == {}
    assert store.vectors.get("clip_h", 999) is None


def test_the_nearest_vectors_come_first_with_their_cosines(store: IndexStore, library: Library) -> None:
    ids, vectors = _filled(store, library, 200)
    hits = store.vectors.nearest("clip_h", vectors[7], 5)
    assert [image_id for image_id, _ in hits] == _truth(ids, vectors, vectors[7], 5)
    assert hits[0][1] == pytest.approx(1.0, abs=2e-3)
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)


def test_only_candidates_are_compared(store: IndexStore, library: Library) -> None:
    ids, vectors = _filled(store, library, 50)
    among = {ids[1], ids[2], ids[40], 12345}
    assert {image_id for image_id, _ in store.vectors.nearest("clip_h", vectors[7], 10, among)} == among - {12345}
    assert store.vectors.nearest("clip_h", vectors[7], 10, []) == []


def test_scores_are_exact_and_omit_images_without_a_vector(store: IndexStore, library: Library) -> None:
    ids, vectors = _filled(store, library, 20)
    bare = library.add("bare.png")
    scores = store.vectors.scores("clip_h", vectors[0], [ids[4], ids[5], bare])
    assert set(scores) == {ids[4], ids[5]}
    assert scores[ids[4]] == pytest.approx(float(vectors[4] @ vectors[0]), abs=2e-3)


def test_an_unknown_layer_has_no_vectors(store: IndexStore) -> None:
    query = unit_vectors(1, DIM)[0]
    assert store.vectors.active_revision("clip_h") is None
    assert store.vectors.nearest("clip_h", query, 5) == []
    assert store.vectors.scores("clip_h", query, [1]) == {}
    assert store.vectors.get("clip_h", 1) is None
    assert len(store.vectors.sample("clip_h", 5)) == 0
    assert not store.vectors.requantize_layer("clip_h")


def test_storing_a_vector_again_replaces_the_old_one(store: IndexStore, library: Library) -> None:
    ids, vectors = _filled(store, library, 20)
    revision = store.vectors.active_revision("clip_h")
    assert revision is not None
    store.vectors.put("clip_h", revision.id, [ids[0]], vectors[9:10])
    hits = store.vectors.nearest("clip_h", vectors[9], 2)
    assert {image_id for image_id, _ in hits} == {ids[0], ids[9]}


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((2, DIM), np.float32),
        np.full((2, DIM), np.nan, np.float32),
        np.ones((2, DIM), np.float32),
        unit_vectors(3, DIM),
        unit_vectors(2, DIM - 1),
    ],
    ids=["zero", "nan", "not unit", "too many", "too short"],
)
def test_invalid_vectors_are_refused_and_the_task_stays(
    store: IndexStore, library: Library, vectors: np.ndarray
) -> None:
    ids = library.add_many(2, stages=("clip_h",))
    revision = store.vectors.activate("clip_h", "model-1", DIM, "image")
    with pytest.raises(ValueError, match=r"shape|unit length"):
        store.vectors.put("clip_h", revision, ids, vectors)
    assert store.index_tasks.counts() == {"clip_h": {"pending": 2}}


def test_a_new_revision_hides_the_old_vectors_and_queues_all_images(store: IndexStore, library: Library) -> None:
    ids, vectors = _filled(store, library, 10)
    store.images.set_decode_problem(ids[0], "truncated")
    second = store.vectors.activate("clip_h", "model-2", 32, "image")
    active = store.vectors.active_revision("clip_h")
    assert active is not None
    assert (active.id, active.identity, active.dim) == (second, "model-2", 32)
    assert store.vectors.nearest("clip_h", unit_vectors(1, 32)[0], 5) == []
    assert store.index_tasks.counts() == {"clip_h": {"pending": 9}}
    store.vectors.put("clip_h", second, ids[1:3], unit_vectors(2, 32))
    assert store.index_tasks.counts() == {"clip_h": {"pending": 7}}
    with pytest.raises(ValueError, match="shape"):
        store.vectors.nearest("clip_h", vectors[0], 5)


def test_a_reactivated_revision_queues_only_missing_vectors(store: IndexStore, library: Library) -> None:
    ids, vectors = _filled(store, library, 10)
    store.vectors.activate("clip_h", "model-2", DIM, "image")
    late = library.add("late.png", stages=("clip_h",))
    store.vectors.activate("clip_h", "model-1", DIM, "image")
    assert [item.image_id for item in store.index_tasks.claim("clip_h", 99, now=0.0)] == [late]
    assert store.vectors.nearest("clip_h", vectors[2], 1)[0][0] == ids[2]


def test_vectors_of_a_replaced_revision_do_not_end_the_task(store: IndexStore, library: Library) -> None:
    ids = library.add_many(2, stages=("clip_h",))
    first = store.vectors.activate("clip_h", "model-1", DIM, "image")
    store.vectors.activate("clip_h", "model-2", DIM, "image")
    store.vectors.put("clip_h", first, ids, unit_vectors(2, DIM))
    assert store.index_tasks.counts() == {"clip_h": {"pending": 2}}
    assert store.vectors.nearest("clip_h", unit_vectors(1, DIM)[0], 5) == []


def test_only_images_with_the_text_are_queued(store: IndexStore, library: Library) -> None:
    both = library.add("both.png", prompt="cat", negative_prompt="dog")
    cat = library.add("cat.png", prompt="cat")
    library.add("blank.png", prompt=" ")
    store.vectors.activate("bge_prompt", "bge", 8, "prompt")
    store.vectors.activate("bge_negative", "bge", 8, "negative_prompt")
    assert [item.image_id for item in store.index_tasks.claim("bge_prompt", 9, now=0.0)] == [both, cat]
    assert [item.image_id for item in store.index_tasks.claim("bge_negative", 9, now=0.0)] == [both]


def test_activating_again_changes_nothing(store: IndexStore, library: Library) -> None:
    _filled(store, library, 3)
    before = store.vectors.active_revision("clip_h")
    assert before is not None
    assert store.vectors.activate("clip_h", "model-1", DIM, "image") == before.id
    assert store.index_tasks.counts() == {}
    with pytest.raises(ValueError, match="vectors of 64, not 32"):
        store.vectors.activate("clip_h", "model-1", 32, "image")


def test_a_sample_is_the_same_until_the_layer_changes(store: IndexStore, library: Library) -> None:
    _, vectors = _filled(store, library, 300)
    sample = store.vectors.sample("clip_h", 50)
    assert 40 <= len(sample) <= 50
    assert np.array_equal(sample, store.vectors.sample("clip_h", 50))
    assert np.abs(vectors @ sample.T).max(axis=0) == pytest.approx(np.ones(len(sample)), abs=2e-3)
    assert len(store.vectors.sample("clip_h", 1000)) == 300
