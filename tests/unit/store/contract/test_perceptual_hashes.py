"""Hashes come with the thumbnail's work, are asked for again when their version changes, and are read with recipes."""

from __future__ import annotations

import pytest

from indexd.store.protocols import IndexStore
from tests.unit.store.sample_rows import Library

ONE, OTHER = bytes(range(64)), bytes(64)


def test_storing_a_hash_ends_its_index_task(store: IndexStore, library: Library) -> None:
    ids = library.add_many(3, stages=("thumbnail",))
    store.perceptual_hashes.put("thumbnail", {ids[0]: ONE, ids[1]: b""})
    assert store.index_tasks.counts() == {"thumbnail": {"pending": 1}}
    assert store.perceptual_hashes.counts() == (1, 1)


def test_an_invalid_hash_is_refused_and_nothing_is_stored(store: IndexStore, library: Library) -> None:
    ids = library.add_many(2, stages=("thumbnail",))
    with pytest.raises(ValueError, match="64 bytes"):
        store.perceptual_hashes.put("thumbnail", {ids[0]: ONE, ids[1]: b"short"})
    assert store.perceptual_hashes.counts() == (0, 0)
    assert store.index_tasks.counts() == {"thumbnail": {"pending": 2}}


def test_a_new_hash_version_queues_every_image_again(store: IndexStore, library: Library) -> None:
    assert store.perceptual_hashes.activate("1", "thumbnail") == 0
    ids = library.add_many(3)
    store.perceptual_hashes.put("thumbnail", dict.fromkeys(ids, ONE))
    assert store.perceptual_hashes.activate("1", "thumbnail") == 0
    assert store.perceptual_hashes.counts() == (3, 0)
    store.images.set_decode_problem(ids[2], "broken")
    assert store.perceptual_hashes.activate("2", "thumbnail") == 2
    assert store.perceptual_hashes.counts() == (0, 0)
    assert store.index_tasks.counts() == {"thumbnail": {"pending": 2}}


def test_present_images_are_read_with_their_hashes(store: IndexStore, library: Library) -> None:
    first = library.add("a.png")
    second = library.add("b.png")
    gone = library.add("c.png")
    plain = library.add("d.png")
    store.perceptual_hashes.put("thumbnail", {first: ONE, second: OTHER, gone: ONE, plain: b""})
    store.files.mark_missing(library.root.id, [b"c.png"], 9.0)
    found = store.perceptual_hashes.present(None)
    assert found.ids.tolist() == [first, second]
    assert found.hashes[0].tobytes() == ONE
    assert store.perceptual_hashes.present([second, gone]).ids.tolist() == [second]
    assert store.perceptual_hashes.present([]).hashes.shape == (0, 64)
