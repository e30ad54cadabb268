"""The packed tree of known files."""

from __future__ import annotations

import tracemalloc

import pytest

from indexd.watch.scan import index_snapshot
from indexd.watch.scan.index_snapshot import IndexedFileRow, IndexSnapshot

# Depth first by the path, as the index gives them: the files of `a` come in two parts.
ROWS: list[IndexedFileRow] = [
    (b"a/1.png", 10, -5, 1),
    (b"a/b/\xff\n.png", 20, 1_700_000_000 * 10**9, 2**64 - 1),
    (b"a/c.png", 0, 0, 0),
    (b"top.png", 2**40, 3, 4),
]


def test_files_are_read_back_by_folder() -> None:
    tree = IndexSnapshot(ROWS)
    assert tree.count == 4
    assert dict(tree.remaining()) == {rel: tuple(stamp) for rel, *stamp in ROWS}
    assert tree.enter_folder(b"") == {b"top.png": (2**40, 3, 4)}
    assert tree.enter_folder(b"a/") == {b"1.png": (10, -5, 1), b"c.png": (0, 0, 0)}
    assert tree.enter_folder(b"never/") == {}


def test_removed_files_are_gone_and_the_others_stay() -> None:
    """Also while its folder is being looked at, where a scan asks for files that have moved."""
    tree = IndexSnapshot(ROWS)
    here = tree.enter_folder(b"a/")
    del here[b"1.png"]
    assert sorted(rel for rel, _ in tree.remaining()) == [b"a/b/\xff\n.png", b"a/c.png", b"top.png"]
    tree.enter_folder(b"").clear()
    tree.enter_folder(b"a/b/")
    assert sorted(tree.remaining()) == [
        (b"a/b/\xff\n.png", (20, 1_700_000_000 * 10**9, 2**64 - 1)),
        (b"a/c.png", (0, 0, 0)),
    ]
    assert tree.enter_folder(b"a/") == {b"c.png": (0, 0, 0)}


def test_a_large_folder_stays_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_snapshot, "_FILES_PER_CHUNK", 3)
    tree = IndexSnapshot((b"d/%d" % number, number, 0, 1) for number in range(8))
    assert tree.count == 8
    assert tree.enter_folder(b"d/") == {b"%d" % number: (number, 0, 1) for number in range(8)}


def test_memory_per_file_is_little_more_than_its_name() -> None:
    name = 20
    tracemalloc.start()
    try:
        tree = IndexSnapshot(
            (b"%03d/%020d" % (number // 500, number), number, 10**18 + number, number) for number in range(20_000)
        )
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tree.count == 20_000
    assert held < 20_000 * (name + 30)


def test_a_file_is_found_by_its_stamp_in_any_folder() -> None:
    tree = IndexSnapshot(
        [(b"a/1.png", 1, 1, 11), (b"a/2.png", 1, 1, 12), (b"b/1.png", 1, 1, 21), (b"b/2.png", 1, 1, 22)]
    )
    tree.enter_folder(b"b/")
    assert tree.find_by_stamp((1, 1, 12)) == b"a/2.png"
    assert tree.find_by_stamp((1, 1, 21)) == b"b/1.png"
    assert tree.find_by_stamp((1, 1, 11)) == b"a/1.png"
    assert tree.find_by_stamp((2, 1, 11)) is None
    assert tree.find_by_stamp((1, 1, 99)) is None
    here = tree.enter_folder(b"a/")
    del here[b"1.png"]
    assert tree.find_by_stamp((1, 1, 22)) == b"b/2.png"
    assert tree.find_by_stamp((1, 1, 12)) == b"a/2.png"


def test_lookup_cost_does_not_grow_with_the_folder() -> None:
    """Two large folders moved into one: its listing names their files in turns."""
    rows = [
        (b"%s/%020d" % (folder, n), n, 1, at + n) for at, folder in ((0, b"a"), (10**6, b"b")) for n in range(20_000)
    ]
    tree = IndexSnapshot(rows)
    tree.enter_folder(b"c/")
    assert tree.find_by_stamp(rows[0][1:]) == rows[0][0]
    tracemalloc.start()
    try:
        for rel, *stamp in (*rows[5:40_000:9_000], rows[-1]):
            assert tree.find_by_stamp((stamp[0], stamp[1], stamp[2])) == rel
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
