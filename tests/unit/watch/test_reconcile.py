"""Comparison of a folder tree with the known files."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexd.fs.file_stamp import FileStamp
from indexd.watch.scan import reconcile
from indexd.watch.scan.index_snapshot import IndexSnapshot
from indexd.watch.scan.reconcile import SLICE_ENTRIES, UNTRUSTED_MTIME, TreeComparison, is_gone, iter_changed_folders
from indexd.watch.watch_filter import WatchFilter
from tests.unit.watch.manual_root import old_file, set_age, stamp_of

NOTHING = FileStamp(1, 1, 1)


def compare(
    folder: Path, known: dict[bytes, FileStamp], **options: object
) -> tuple[TreeComparison, list[bytes], list[bytes]]:
    """The finished pass, what it found, and what it did not see."""
    tree = IndexSnapshot((rel, *stamp) for rel, stamp in known.items())
    passed = TreeComparison(os.fsencode(folder), tree, WatchFilter(), **options)  # type: ignore[arg-type]
    found = [finding.rel for batch in passed.iter_changes() for finding in batch]
    return passed, sorted(found), sorted(passed.iter_unseen())


def test_new_changed_unchanged_and_unseen_files_are_distinguished(folder: Path) -> None:
    same, changed = old_file(folder / "same.png"), old_file(folder / "a" / "changed.png")
    old_file(folder / "a" / "b" / "new.png")
    known = {b"same.png": stamp_of(same), b"a/changed.png": stamp_of(changed)._replace(size=1), b"a/gone.png": NOTHING}
    passed, found, unseen = compare(folder, known)
    assert found == [b"a/b/new.png", b"a/changed.png"]
    assert unseen == [b"a/gone.png"]
    assert (passed.report.new, passed.report.changed, passed.report.unchanged, passed.report.folders) == (1, 1, 1, 3)
    assert passed.report.present == 2


class _WindowsEntry:
    """A listed entry as Windows gives it: its stat has no inode."""

    def __init__(self, entry: os.DirEntry[bytes]) -> None:
        self.name, self.path = entry.name, entry.path
        self.is_dir, self.is_file, self._entry = entry.is_dir, entry.is_file, entry

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        found = list(self._entry.stat(follow_symlinks=follow_symlinks))
        found[stat.ST_INO] = 0
        times = self._entry.stat(follow_symlinks=follow_symlinks)
        return os.stat_result(
            found, {"st_mtime_ns": times.st_mtime_ns, "st_ctime_ns": times.st_ctime_ns, "st_file_attributes": 0}
        )


def test_a_listing_without_inodes_does_not_make_every_file_a_changed_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, changed, new = (old_file(folder / name) for name in ("same.png", "changed.png", "new.png"))
    known = {b"same.png": stamp_of(same), b"changed.png": stamp_of(changed)._replace(size=1)}
    scandir = os.scandir

    @contextmanager
    def listed(path: bytes) -> Iterator[Iterator[_WindowsEntry]]:
        with scandir(path) as entries:
            yield map(_WindowsEntry, entries)

    monkeypatch.setattr(reconcile, "LISTING_HAS_INODES", False)
    monkeypatch.setattr(os, "scandir", listed)
    tree = IndexSnapshot((rel, *stamp) for rel, stamp in known.items())
    passed = TreeComparison(os.fsencode(folder), tree, WatchFilter())
    found = {one.rel: one.stamp for batch in passed.iter_changes() for one in batch}
    assert found == {b"changed.png": stamp_of(changed), b"new.png": stamp_of(new)}
    assert passed.report.unchanged == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only here may a name be any bytes")
def test_names_are_bytes(folder: Path) -> None:
    rel = b"\xff\xfe/\x80\n.png"
    old_file(folder / os.fsdecode(rel))
    assert compare(folder, {})[1] == [rel]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_links_and_pipes_are_skipped(folder: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    old_file(folder / "real" / "x.png")
    (folder / "loop").symlink_to(folder)
    (folder / "real" / "up").symlink_to("..")
    (folder / "link.png").symlink_to("real/x.png")
    os.mkfifo(folder / "pipe.png")
    assert compare(folder, {})[1] == [b"real/x.png"]


def test_a_known_file_that_is_now_irregular_is_unseen(folder: Path) -> None:
    (folder / "x.png").symlink_to("y.png")
    _, found, unseen = compare(folder, {b"x.png": NOTHING})
    assert (found, unseen) == ([], [b"x.png"])
    assert is_gone(os.fsencode(folder / "x.png"))


def test_a_known_file_is_compared_even_when_the_selection_excludes_it(folder: Path) -> None:
    """Who excludes a folder later does not want its pictures called missing."""
    hidden = old_file(folder / ".hidden.png")
    assert compare(folder, {b".hidden.png": stamp_of(hidden)})[0].report.unchanged == 1
    _, found, unseen = compare(folder, {b".hidden.png": NOTHING})
    assert (found, unseen) == ([], [])


def test_a_scan_of_many_files_yields_slices(folder: Path) -> None:
    for number in range(3):
        for part in range(SLICE_ENTRIES // 2):
            (folder / f"{number}").mkdir(exist_ok=True)
            (folder / f"{number}" / f"{part}.png").touch()
    sizes = [len(batch) for batch in TreeComparison(os.fsencode(folder), IndexSnapshot(), WatchFilter()).iter_changes()]
    assert sum(sizes) == 3 * (SLICE_ENTRIES // 2)
    assert len(sizes) > 1
    assert max(sizes) <= 2 * SLICE_ENTRIES


def test_nothing_below_an_unreadable_folder_is_unseen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(folder / "bad" / "x.png")
    scandir = os.scandir

    def failing(path: bytes) -> object:
        if path.endswith(b"bad"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    passed, _, unseen = compare(folder, {b"bad/x.png": NOTHING, b"bad/deep/y.png": NOTHING, b"badly.png": NOTHING})
    assert passed.report.unreadable == [b"bad"]
    assert unseen == [b"badly.png"]


def test_an_unreadable_root_marks_nothing_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: bytes) -> object:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "scandir", failing)
    assert compare(folder, {b"x.png": NOTHING})[2] == []


def test_an_interrupted_listing_marks_nothing_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(folder / "bad" / "x.png")
    old_file(folder / "y.png")
    scandir = os.scandir

    @contextmanager
    def breaking(path: bytes) -> Iterator[Iterator[os.DirEntry[bytes]]]:
        def entries() -> Iterator[os.DirEntry[bytes]]:
            yield from real
            if path.endswith(b"bad"):
                raise OSError(5, "Input/output error")

        with scandir(path) as real:
            yield entries()

    monkeypatch.setattr(os, "scandir", breaking)
    passed, found, unseen = compare(folder, {b"bad/z.png": NOTHING, b"gone.png": NOTHING})
    assert (found, unseen) == ([b"bad/x.png", b"y.png"], [b"gone.png"])
    assert passed.report.unreadable == [b"bad"]


def test_unstable_inodes_are_not_compared(folder: Path) -> None:
    known = {b"x.png": stamp_of(old_file(folder / "x.png"))._replace(inode=0)}
    assert compare(folder, known, stable_inodes=False)[0].report.unchanged == 1


def test_a_shallow_scan_enters_only_new_folders(folder: Path) -> None:
    old_file(folder / "seen" / "x.png")
    old_file(folder / "fresh" / "deep" / "y.png")
    old_file(folder / "z.png")
    known = {b"seen/x.png": NOTHING, b"lost/w.png": NOTHING, b"v.png": NOTHING}
    _, found, unseen = compare(folder, known, known_folders=[b"", b"seen"])
    assert found == [b"fresh/deep/y.png", b"z.png"]
    assert unseen == [b"lost/w.png", b"v.png"]


def test_folders_with_another_mtime_are_changed(folder: Path) -> None:
    for name in ("quiet", "busy", "removed"):
        (folder / name).mkdir()
        set_age(folder / name, 3600)
    set_age(folder, 3600)
    passed, _, _ = compare(folder, {})
    times = passed.folder_times
    assert [rel for batch in iter_changed_folders(os.fsencode(folder), times) for rel in batch] == []
    old_file(folder / "busy" / "x.png")
    (folder / "removed").rmdir()
    changed = [rel for batch in iter_changed_folders(os.fsencode(folder), times) for rel in batch]
    assert sorted(changed) == [b"", b"busy"]
    assert b"removed" not in times


def test_a_recent_folder_mtime_is_not_trusted(folder: Path) -> None:
    """A second change within the same tick of the clock would leave the time as it is."""
    (folder / "x.png").touch()
    assert compare(folder, {})[0].folder_times == {b"": UNTRUSTED_MTIME}
