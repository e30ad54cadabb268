"""Whole layers in slices, and which images are present."""

from __future__ import annotations

import numpy as np
import pytest

from indexd.store.protocols import IndexStore
from indexd.store.sqlite.vectors import rows as walks
from tests.unit.store.sample_rows import Library, unit_vectors


@pytest.mark.parametrize("slice_size", [3, 100])
def test_bulk_reading_yields_every_vector_once(
    store: IndexStore, library: Library, slice_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "SLICE_ROWS", slice_size)
    ids = library.add_many(10)
    rows = unit_vectors(10, 8)
    revision = store.vectors.activate("clip_h", "toy", 8, "image")
    store.vectors.put("clip_h", revision, ids[:9], rows[:9])
    walked = list(store.bulk_reader.iter_vectors("clip_h"))
    assert np.concatenate([one for one, _ in walked]).tolist() == ids[:9]
    assert np.abs(np.concatenate([vectors for _, vectors in walked]) - rows[:9]).max() < 1e-3
    some = list(store.bulk_reader.iter_vectors("clip_h", {ids[1], ids[7], ids[9]}))
    assert np.concatenate([one for one, _ in some]).tolist() == [ids[1], ids[7]]
    assert list(store.bulk_reader.iter_vectors("clip_h", [])) == []
    assert list(store.bulk_reader.iter_vectors("bge_prompt")) == []


def test_a_slice_without_vectors_does_not_end_bulk_reading(
    store: IndexStore, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "SLICE_ROWS", 2)
    ids = library.add_many(6)
    revision = store.vectors.activate("clip_h", "toy", 8, "image")
    store.vectors.put("clip_h", revision, ids[4:], unit_vectors(2, 8))
    walked = list(store.bulk_reader.iter_vectors("clip_h", ids))
    assert [one.tolist() for one, _ in walked] == [ids[4:]]


def test_present_images_and_copy_counts_are_read(store: IndexStore, library: Library) -> None:
    first = library.add("a.png", content="x")
    assert library.add("b.png", content="x") == first
    second = library.add("c.png", content="y")
    library.add("d.png", content="y")
    gone = library.add("e.png")
    store.files.mark_missing(library.root.id, [b"d.png", b"e.png"], 5.0)
    assert store.bulk_reader.present_image_ids().tolist() == [first, second]
    assert gone not in store.bulk_reader.present_image_ids()
    assert store.bulk_reader.copy_counts() == {first: 2}
