"""Places: what a scan compares with, missing and back, moved, found by absolute path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from indexd.fs.file_stamp import FileStamp
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter
from tests.unit.store.sample_rows import Library


def _path(root: str, rel: str) -> bytes:
    return f"{root}/{rel}".encode()


def test_known_files_are_those_of_one_root_and_folder(store: IndexStore, library: Library) -> None:
    library.add("a/one.png")
    library.add("a/b/two.png")
    library.add("ab/three.png")
    Library(store, store.roots.ensure(b"/other", "images")).add("a/four.png")
    root_id = library.root.id
    assert set(store.files.present_stamps(root_id)) == {b"a/one.png", b"a/b/two.png", b"ab/three.png"}
    assert set(store.files.present_stamps(root_id, b"a")) == {b"a/one.png", b"a/b/two.png"}
    assert set(store.files.present_stamps(root_id, b"a/b/")) == {b"a/b/two.png"}
    assert store.files.present_stamps(root_id)[b"a/one.png"] == FileStamp(9, 1_700_000_000 * 10**9, 7)


def test_missing_files_are_marked_once_and_can_return(store: IndexStore, library: Library) -> None:
    image_id = library.add("a.png")
    root_id = library.root.id
    assert store.files.mark_missing(root_id, [b"a.png", b"never.png"], 77.0) == 1
    assert store.files.mark_missing(root_id, [b"a.png"], 99.0) == 0
    assert store.files.present_stamps(root_id) == {}
    assert list(store.files.missing_stamps(root_id)) == [b"a.png"]
    assert store.files.counts() == (0, 1)
    row = store.images.get(image_id)
    assert row is not None
    assert row.files[0].missing_since == 77.0
    store.files.update_stamps(root_id, [(b"a.png", FileStamp(1, 2, 3)), (b"never.png", FileStamp(1, 2, 3))])
    assert store.files.present_stamps(root_id) == {b"a.png": FileStamp(1, 2, 3)}
    assert store.files.missing_stamps(root_id) == {}


def test_recording_a_missing_file_again_brings_it_back(store: IndexStore, library: Library) -> None:
    library.add("a.png")
    store.files.mark_missing(library.root.id, [b"a.png"], 77.0)
    library.add("a.png")
    assert list(store.files.present_stamps(library.root.id)) == [b"a.png"]


def test_a_moved_file_keeps_its_image_and_is_found_under_its_new_name(store: IndexStore, library: Library) -> None:
    image_id = library.add("old.png", prompt="cat")
    store.annotations.tag([image_id], add=["keep"])
    root_id = library.root.id
    assert store.files.record_move(root_id, b"old.png", b"new/name.png", FileStamp(5, 6, 7))
    assert store.files.present_stamps(root_id) == {b"new/name.png": FileStamp(5, 6, 7)}
    assert [hit for hit, _ in store.fulltext.match("name.png", 5)] == [image_id]
    assert store.fulltext.match("old.png", 5) == []
    assert store.filters.ids([Filter("tag", "=", "keep")]) == {image_id}


def test_a_move_onto_a_known_path_takes_its_place(store: IndexStore, library: Library) -> None:
    moved, covered = library.add("a.png"), library.add("b.png")
    assert store.files.record_move(library.root.id, b"a.png", b"b.png", FileStamp(1, 1, 1))
    assert list(store.files.present_stamps(library.root.id)) == [b"b.png"]
    found = store.files.find(_path("/pictures", "b.png"))
    assert found is not None
    assert found.image_id == moved
    assert store.images.get(covered) is not None


def test_a_move_of_an_unknown_file_says_so(store: IndexStore, library: Library) -> None:
    assert not store.files.record_move(library.root.id, b"a.png", b"b.png", FileStamp(1, 1, 1))
    assert store.files.present_stamps(library.root.id) == {}


def test_a_path_is_found_under_the_longest_root_that_knows_it(store: IndexStore, library: Library) -> None:
    inner = Library(store, store.roots.ensure(_path("/pictures", "best"), "images"))
    library.add("best/outer.png")
    inner_id = inner.add("inner.png")
    library.add("best/both.png")
    inner.add("both.png")
    outer = store.files.find(_path("/pictures", "best/outer.png"))
    assert outer is not None
    assert outer.root_id == library.root.id
    found = store.files.find(_path("/pictures", "best/inner.png"))
    assert found is not None
    assert (found.root_id, found.image_id) == (inner.root.id, inner_id)
    both = store.files.find(_path("/pictures", "best/both.png"))
    assert both is not None
    assert (both.root_id, both.path) == (inner.root.id, _path("/pictures", "best/both.png"))
    assert store.files.find(_path("/picturesque", "a.png")) is None
    assert store.files.find(_path("/pictures", "none.png")) is None


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are Unicode on Windows")
def test_a_name_that_is_not_utf8_is_kept_byte_for_byte(tmp_path: Path, store: IndexStore, library: Library) -> None:
    library.add(b"caf\xe9/\x80.png")
    assert list(store.files.present_stamps(library.root.id, b"caf\xe9")) == [b"caf\xe9/\x80.png"]
