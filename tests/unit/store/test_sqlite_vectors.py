"""Stored vectors are found, revisions are never mixed, and code tables are swapped while searches run."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from indexd.store.protocols import IndexStore
from indexd.store.sqlite.vectors import requantize as recode_module
from indexd.store.sqlite.vectors import vectors as vectors_module
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


@pytest.mark.parametrize("recoded", [False, True])
def test_a_large_library_is_searched_by_codes(
    store: IndexStore, library: Library, monkeypatch: pytest.MonkeyPatch, recoded: bool
) -> None:
    monkeypatch.setattr(vectors_module, "EXACT_LIBRARY_LIMIT", 10)
    monkeypatch.setattr(vectors_module, "EXACT_SUBSET_LIMIT", 10)
    ids, vectors = _filled(store, library, 1200)
    if recoded:
        assert store.vectors.requantize_layer("clip_h")
    kept = 0
    for at in range(10):
        hits = store.vectors.nearest("clip_h", vectors[at], 10)
        assert hits[0][0] == ids[at]
        kept += len({image_id for image_id, _ in hits} & set(_truth(ids, vectors, vectors[at], 10)))
    assert kept >= (88 if recoded else 60)
    half = set(ids[::2])
    hits = store.vectors.nearest("clip_h", vectors[0], 10, half)
    assert len(hits) == 10
    assert {image_id for image_id, _ in hits} <= half


def test_vectors_are_requantized_once_there_are_enough(
    store: IndexStore, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recode_module, "MIN_VECTORS_FOR_MEAN", 100)
    _filled(store, library, 99)
    assert not store.vectors.requantize_layer("clip_h")
    revision = store.vectors.active_revision("clip_h")
    assert revision is not None
    store.vectors.put("clip_h", revision.id, [library.add("last.png")], unit_vectors(1, DIM))
    assert store.vectors.requantize_layer("clip_h")
    assert not store.vectors.requantize_layer("clip_h")


def test_an_interrupted_requantization_continues_without_gaps(
    store: IndexStore, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recode_module, "MIN_VECTORS_FOR_MEAN", 100)
    monkeypatch.setattr(recode_module, "SLICE_VECTORS", 20)
    monkeypatch.setattr(vectors_module, "EXACT_LIBRARY_LIMIT", 0)
    ids, vectors = _filled(store, library, 100)
    revision = store.vectors.active_revision("clip_h")
    assert revision is not None
    slices = recode_module._next_slice
    calls = iter(range(99))

    def cut_off(*args: object) -> bool:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return slices(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(recode_module, "_next_slice", cut_off)
    with pytest.raises(KeyboardInterrupt):
        store.vectors.requantize_layer("clip_h")
    # Meanwhile: one vector behind the point reached is changed, one new one comes after it, and questions go on.
    late = library.add("late.png")
    store.vectors.put("clip_h", revision.id, [ids[0], late], np.stack([vectors[50], vectors[51]]))
    assert store.vectors.nearest("clip_h", vectors[30], 1)[0][0] == ids[30]
    monkeypatch.setattr(recode_module, "_next_slice", slices)
    assert store.vectors.requantize_layer("clip_h")
    assert {image_id for image_id, _ in store.vectors.nearest("clip_h", vectors[50], 2)} == {
        ids[0],
        ids[50],
    }
    assert {image_id for image_id, _ in store.vectors.nearest("clip_h", vectors[51], 2)} == {
        late,
        ids[51],
    }
    everyone = store.vectors.nearest("clip_h", vectors[0], 101)
    assert {image_id for image_id, _ in everyone} == {*ids, late}


def test_searches_continue_while_code_tables_are_swapped(
    store: IndexStore, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recode_module, "MIN_VECTORS_FOR_MEAN", 100)
    monkeypatch.setattr(recode_module, "SLICE_VECTORS", 25)
    monkeypatch.setattr(vectors_module, "EXACT_LIBRARY_LIMIT", 0)
    ids, vectors = _filled(store, library, 500)
    stop, failures, asked = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            for at in range(0, 500, 50):
                hits = store.vectors.nearest("clip_h", vectors[at], 1)
                asked.append(at)
                if hits[0][0] != ids[at]:
                    failures.append(at)

    thread = threading.Thread(target=ask)
    thread.start()
    assert store.vectors.requantize_layer("clip_h")
    while len(asked) < 30 and thread.is_alive():
        stop.wait(0.01)
    stop.set()
    thread.join()
    assert failures == []
