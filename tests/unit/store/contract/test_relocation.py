"""A whole tree under another path: no file is read, both places may be away, and nothing is lost on the way."""

from __future__ import annotations

import pytest

from indexd.errors import UsageError
from indexd.store.path_prefix import join_path, relative_to
from indexd.store.protocols import IndexStore
from tests.unit.store.sample_rows import Library


def _paths(store: IndexStore, *ids: int) -> list[bytes | None]:
    found = store.images.paths(ids)
    return [found.get(one) for one in ids]


@pytest.mark.parametrize(
    ("path", "tree", "expected"),
    [
        (b"/a/b/c", b"/a", b"b/c"),
        (b"/a/b", b"/a/b/", b""),
        (b"/ab", b"/a", None),
        (b"/a", b"/", b"a"),
        (b"D:\\Pics\\Red", b"d:/pics", b"Red"),
        (b"D:\\Pics", b"E:\\Pics", None),
        (b"\\\\Server\\Share\\x", b"\\\\server\\share", b"x"),
        (b"/d/pics", b"D:\\pics", None),
    ],
)
def test_paths_below_a_folder_are_found(path: bytes, tree: bytes, expected: bytes | None) -> None:
    assert relative_to(path, tree) == expected


def test_paths_use_the_separators_of_their_system() -> None:
    assert join_path(b"E:\\", b"a/b") == b"E:\\a\\b"
    assert join_path(b"/mnt/d/", b"a/\xff") == b"/mnt/d/a/\xff"
    assert join_path(b"E:", b"") == b"E:\\"


def test_a_root_is_relocated_with_all_its_files(store: IndexStore, library: Library) -> None:
    one = library.add(b"a/\xff.png")
    store.annotations.rate([one], 5)
    done = store.relocation.relocate(b"/pictures", b"/mnt/new", ())
    assert (done.files, done.roots) == (1, [(b"/pictures", b"/mnt/new")])
    assert _paths(store, one) == [b"/mnt/new/a/\xff.png"]
    root = store.roots.all()[0]
    assert (root.id, root.path, root.identity) == (library.root.id, b"/mnt/new", None)
    assert store.files.present_stamps(root.id)[b"a/\xff.png"].inode == 0


def test_a_root_moves_to_another_drive_or_system(store: IndexStore) -> None:
    library = Library(store, store.roots.ensure(b"D:\\Pics", "images"))
    one = library.add("red/a.png")
    store.relocation.relocate(b"d:\\", b"E:\\old", ())
    assert store.roots.all()[0].path == b"E:\\old\\Pics"
    store.relocation.relocate(b"E:\\old\\Pics", b"/mnt/pics", ())
    assert _paths(store, one) == [b"/mnt/pics/red/a.png"]


def test_a_parent_folder_of_several_roots_is_relocated(store: IndexStore) -> None:
    ids = [
        Library(store, store.roots.ensure(path, "images")).add("x.png", str(path)) for path in (b"/d/a", b"/d/b", b"/e")
    ]
    done = store.relocation.relocate(b"/d", b"/f", ())
    assert done.roots == [(b"/d/a", b"/f/a"), (b"/d/b", b"/f/b")]
    assert _paths(store, *ids) == [b"/f/a/x.png", b"/f/b/x.png", b"/e/x.png"]


def test_part_of_a_root_moves_within_it_or_to_another(store: IndexStore, library: Library) -> None:
    inner, deep, plain = library.add("a/x.png"), library.add("a/a/x.png"), library.add("ab/x.png")
    other = store.roots.ensure(b"/other", "images")
    assert store.relocation.relocate(b"/pictures/a", b"/pictures/a/a", ()).files == 2
    assert _paths(store, inner, deep, plain) == [
        b"/pictures/a/a/x.png",
        b"/pictures/a/a/a/x.png",
        b"/pictures/ab/x.png",
    ]
    assert store.relocation.relocate(b"/pictures/a/a/a", b"/other/z", ()).files == 1
    assert _paths(store, deep) == [b"/other/z/x.png"]
    assert list(store.files.present_stamps(other.id)) == [b"z/x.png"]
    with pytest.raises(UsageError, match="no watched folder"):
        store.relocation.relocate(b"/pictures/ab", b"/nowhere", ())
    assert _paths(store, plain) == [b"/pictures/ab/x.png"]


def test_a_root_moves_into_a_known_one(store: IndexStore, library: Library) -> None:
    one, two, gone = library.add("1.png"), library.add("2.png"), library.add("3.png")
    store.annotations.rate([two], 4)
    new = Library(store, store.roots.ensure(b"/new", "images"))
    edited = new.add("2.png", "edited there")
    new.add("3.png", "was there once")
    store.files.mark_missing(new.root.id, [b"3.png"], 5.0)
    done = store.relocation.relocate(b"/pictures", b"/new", ())
    assert (done.files, done.dropped) == (2, 1)
    assert _paths(store, one, two, gone, edited) == [b"/new/1.png", None, b"/new/3.png", b"/new/2.png"]
    assert [root.path for root in store.roots.all()] == [b"/new"]
    row = store.images.get(two)
    assert row is not None
    assert row.rating == 4


def test_a_watched_root_keeps_its_row(store: IndexStore, library: Library) -> None:
    one = library.add("a.png")
    store.relocation.relocate(b"/pictures", b"/new", [library.root.id])
    assert _paths(store, one) == [b"/new/a.png"]
    assert [(root.id == library.root.id, root.path) for root in store.roots.all()] == [
        (True, b"/pictures"),
        (False, b"/new"),
    ]


def test_a_dry_run_changes_nothing(store: IndexStore, library: Library) -> None:
    one = library.add("a.png")
    assert store.relocation.relocate(b"/pictures", b"/new", (), dry_run=True).files == 1
    assert _paths(store, one) == [b"/pictures/a.png"]
    with pytest.raises(UsageError, match="nothing under"):
        store.relocation.relocate(b"/pict", b"/new", ())
