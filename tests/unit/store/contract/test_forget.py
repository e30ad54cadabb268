"""Taking away what is missing: all of it, nothing else, and what was said waits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from indexd.store.protocols import IndexStore
from indexd.store.records import Filter
from tests.unit.store.sample_rows import Library, unit_vectors


def _forget(store: IndexStore, *, with_marks: bool = False) -> tuple[int, int, int]:
    files = list(store.forgetter.missing_files(1e12))
    images = store.forgetter.orphaned_by(file.id for file in files) + store.forgetter.without_files(1e12)
    gone = store.forgetter.forget(files, images, with_annotations=with_marks)
    return gone.files, gone.images, gone.annotations_kept


def test_only_missing_images_are_forgotten(store: IndexStore, library: Library) -> None:
    here, gone = library.add("here.png"), library.add("gone.png", prompt="a cat")
    library.add("copy of gone.png", "gone.png")
    twice = library.add("twice.png")
    library.add("twice too.png", "twice.png")
    store.files.mark_missing(library.root.id, [b"gone.png", b"copy of gone.png", b"twice.png"], 5.0)
    assert [file.rel for file in store.forgetter.missing_files(5.0)] == []
    assert _forget(store) == (3, 1, 0)
    assert store.images.get(gone) is None
    assert {row.id for row in store.images.rows([here, gone, twice]).values()} == {here, twice}
    assert store.images.count() == 2
    assert store.fulltext.match("cat", 5) == []
    assert _forget(store) == (0, 0, 0)


def test_every_row_is_deleted_and_no_id_is_reused(store: IndexStore, library: Library) -> None:
    ids = library.add_many(5, ("thumbnail", "clip_h"), prompt="a dog")
    revision = store.vectors.activate("clip_h", "toy", 16, "image")
    store.vectors.put("clip_h", revision, ids, unit_vectors(5, 16))
    store.annotations.rate(ids, 3)
    store.files.mark_missing(library.root.id, [b"many/4.png", b"many/3.png"], 5.0)
    assert _forget(store) == (2, 2, 2)
    assert {hit for hit, _ in store.vectors.nearest("clip_h", unit_vectors(5, 16)[4], 5)} == set(ids[:3])
    assert store.vectors.get("clip_h", ids[4]) is None
    assert store.filters.ids([Filter("rating", "=", "3")]) == set(ids[:3])
    assert store.index_tasks.counts() == {"thumbnail": {"pending": 3}}
    assert library.add("new.png") == ids[-1] + 1
    assert store.images.count() == 4


def test_annotations_return_with_the_content(store: IndexStore, library: Library) -> None:
    old = library.add("a.png", "content")
    store.annotations.rate([old], 5)
    store.annotations.tag([old], ["keep"])
    store.files.mark_missing(library.root.id, [b"a.png"], 5.0)
    assert _forget(store) == (1, 1, 1)
    back = store.images.get(library.add("b.png", "content"))
    assert back is not None
    assert (back.rating, back.tags) == (5, ("keep",))


def test_annotations_are_forgotten_on_request(store: IndexStore, library: Library) -> None:
    store.annotations.rate([library.add("a.png", "content")], 5)
    store.files.mark_missing(library.root.id, [b"a.png"], 5.0)
    assert _forget(store, with_marks=True) == (1, 1, 0)
    assert store.annotation_exchange.count_pending() == 0
    back = store.images.get(library.add("b.png", "content"))
    assert back is not None
    assert back.rating is None


def test_an_overwritten_content_is_forgotten(store: IndexStore, library: Library) -> None:
    old = library.add("output.png", "1")
    store.annotations.rate([old], 5)
    new = library.add("output.png", "2")
    assert _forget(store) == (0, 1, 1)
    assert store.images.get(old) is None
    assert store.replacements.candidates([new]) == {}


def test_a_returned_image_and_one_in_process_are_kept(store: IndexStore, library: Library) -> None:
    back, busy = library.add("back.png"), library.add("busy.png", stages=("thumbnail",))
    store.files.mark_missing(library.root.id, [b"back.png", b"busy.png"], 5.0)
    chosen = list(store.forgetter.missing_files(1e12))
    library.add("back.png")
    store.index_tasks.claim("thumbnail", 1, 0.0)
    gone = store.forgetter.forget(chosen, [back, busy])
    assert (gone.files, gone.images) == (1, 0)
    assert store.images.get(back) is not None
    assert store.images.get(busy) is not None
    store.index_tasks.mark_done("thumbnail", [busy])
    assert _forget(store)[1] == 1


def test_files_of_a_given_root_count_as_missing(store: IndexStore, library: Library) -> None:
    library.add("a.png")
    assert list(store.forgetter.missing_files(1e12)) == []
    assert [file.rel for file in store.forgetter.missing_files(1e12, [library.root.id])] == [b"a.png"]


def test_vectors_of_old_revisions_and_unfinished_codes_are_deleted(
    store: IndexStore, library: Library, tmp_path: Path
) -> None:
    ids = library.add_many(3)
    for identity in ("old", "new"):
        revision = store.vectors.activate("clip_h", identity, 8, "image")
        store.vectors.put("clip_h", revision, ids, unit_vectors(3, 8))
    store.files.mark_missing(library.root.id, [b"many/0.png"], 5.0)
    assert _forget(store) == (1, 1, 0)
    store.vectors.activate("clip_h", "old", 8, "image")
    assert {hit for hit, _ in store.vectors.nearest("clip_h", np.eye(8, dtype=np.float32)[0], 5)} == set(ids[1:])
