"""Vectors are read in one piece and widened exactly."""

from __future__ import annotations

import numpy as np

from indexd.store.protocols import IndexStore
from indexd.store.sqlite.vectors.rows import half_to_float32
from tests.unit.store.sample_rows import Library, unit_vectors


def test_half_precision_is_widened_as_by_numpy() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.concatenate([every[np.isfinite(every)]] * 3)
    assert np.array_equal(half_to_float32(finite.tobytes()).view(np.uint32), finite.astype(np.float32).view(np.uint32))
    assert len(half_to_float32(b"")) == 0


def test_stored_vectors_are_read_back_unchanged(store: IndexStore, library: Library) -> None:
    """Bytes of a vector may be anything, the zero that ends a text among them."""
    ids = library.add_many(40)
    vectors = unit_vectors(40, 24)
    vectors[3] = np.eye(24, dtype=np.float32)[0]
    store.vectors.put("clip_h", store.vectors.activate("clip_h", "one", 24, "image"), ids, vectors)
    asked = [ids[9], 987_654, *ids[:6]]
    found, read = store.vectors.get_many("clip_h", asked)
    assert sorted(found) == sorted({ids[9], *ids[:6]})
    expected = vectors.astype(np.float16).astype(np.float32)
    assert all(np.array_equal(row, expected[ids.index(one)]) for one, row in zip(found, read, strict=True))
    assert store.vectors.get_many("clip_h", [])[0] == []
    assert store.vectors.get_many("bge_prompt", ids)[0] == []
