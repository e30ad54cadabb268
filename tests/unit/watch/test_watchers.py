"""The real watchers on a real folder: the events that each must report."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexd.watch.watch_filter import WatchFilter
from indexd.watch.watchers.watcher import Hint, Watcher, WatcherFailed, open_watcher
from indexd.watch.watchers.watchfiles_watcher import WatchfilesWatcher

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
Eventually = Callable[[Callable[[], bool]], None]


class Heard:
    """Everything that a watcher said, merged as its reader would."""

    def __init__(self, watcher: Watcher) -> None:
        self._lock = threading.Lock()
        self._hints: dict[bytes, Hint] = {}
        self.failures: list[WatcherFailed] = []
        self.watcher = watcher
        watcher.start(self._notify, self.failures.append)

    def _notify(self, hints: dict[bytes, Hint]) -> None:
        with self._lock:
            self._hints.update(hints)

    def of(self, rel: bytes) -> str | None:
        with self._lock:
            hint = self._hints.get(rel)
        return hint.change if hint else None

    def rels(self) -> set[bytes]:
        with self._lock:
            return set(self._hints)

    def forget(self) -> None:
        with self._lock:
            self._hints.clear()


KINDS = ["portable", pytest.param("inotify", marks=linux_only)]


@pytest.fixture(params=KINDS)
def heard(request: pytest.FixtureRequest, folder: Path) -> Iterator[Heard]:
    (folder / "there").mkdir()
    (folder / "there" / "before.png").write_bytes(b"x")
    if request.param == "portable":
        made = Heard(WatchfilesWatcher(os.fsdecode(folder)))
    else:
        made = Heard(open_watcher(os.fsencode(folder), WatchFilter().enters))
    yield made
    made.watcher.close()
    made.watcher.close()


def test_created_changed_and_removed_files_are_reported(heard: Heard, folder: Path, eventually: Eventually) -> None:
    path = folder / "there" / "x.png"
    path.write_bytes(b"x")
    eventually(lambda: heard.of(b"there/x.png") in ("appeared", "changed"))
    heard.forget()
    path.write_bytes(b"more")
    eventually(lambda: heard.of(b"there/x.png") is not None)
    heard.forget()
    path.unlink()
    eventually(lambda: heard.of(b"there/x.png") == "gone")


def test_renames_are_reported_with_both_names(heard: Heard, folder: Path, eventually: Eventually) -> None:
    (folder / "there" / "before.png").rename(folder / "after.png")
    eventually(lambda: {b"there/before.png", b"after.png"} <= heard.rels())
    assert heard.of(b"after.png") in ("appeared", "renamed", "changed")


def test_a_new_folder_is_reported_and_then_watched(heard: Heard, folder: Path, eventually: Eventually) -> None:
    (folder / "a").mkdir()
    eventually(lambda: heard.of(b"a") == "appeared")
    heard.forget()
    (folder / "a" / "x.png").write_bytes(b"x")
    eventually(lambda: heard.of(b"a/x.png") is not None)


def test_a_folder_moved_in_is_reported_once_and_watched_recursively(
    heard: Heard, folder: Path, tmp_path: Path, eventually: Eventually
) -> None:
    (tmp_path / "tree" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "tree").rename(folder / "tree")
    eventually(lambda: heard.of(b"tree") in ("appeared", "renamed"))
    (folder / "tree" / "deep" / "er" / "x.png").write_bytes(b"x")
    eventually(lambda: heard.of(b"tree/deep/er/x.png") is not None)


def test_a_closed_watcher_reports_nothing(heard: Heard, folder: Path) -> None:
    heard.watcher.close()
    (folder / "x.png").write_bytes(b"x")
    assert heard.rels() == set()
    assert heard.failures == []


@linux_only
def test_the_portable_watcher_fails_with_a_reason_at_a_name_that_is_not_utf8(
    folder: Path, eventually: Eventually
) -> None:
    heard = Heard(WatchfilesWatcher(os.fsdecode(folder)))
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    eventually(lambda: len(heard.failures) == 1)
    assert not heard.failures[0].permanent
    heard.watcher.close()


@pytest.fixture
def inotify(folder: Path) -> Iterator[Heard]:
    made = Heard(open_watcher(os.fsencode(folder), WatchFilter().enters))
    yield made
    made.watcher.close()


@linux_only
class TestInotify:
    """What only this one can do."""

    def test_names_are_bytes(self, inotify: Heard, folder: Path, eventually: Eventually) -> None:
        (folder / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
        eventually(lambda: inotify.of(b"\xff\xfe.png") == "changed")

    def test_a_rename_into_place_is_reported_as_rename(
        self, inotify: Heard, folder: Path, eventually: Eventually
    ) -> None:
        (folder / "x.tmp").write_bytes(b"x")
        (folder / "x.tmp").rename(folder / "x.png")
        eventually(lambda: inotify.of(b"x.png") == "renamed")

    def test_a_folder_that_moves_is_watched_under_its_new_name(
        self, inotify: Heard, folder: Path, eventually: Eventually
    ) -> None:
        (folder / "a" / "b").mkdir(parents=True)
        eventually(lambda: inotify.of(b"a") == "appeared")
        (folder / "a").rename(folder / "c")
        eventually(lambda: inotify.of(b"c") == "appeared" and inotify.of(b"a") == "gone")
        (folder / "c" / "b" / "x.png").write_bytes(b"x")
        eventually(lambda: inotify.of(b"c/b/x.png") == "changed")
        assert inotify.of(b"a/b/x.png") is None

    def test_ignored_folders_are_not_watched(self, inotify: Heard, folder: Path, eventually: Eventually) -> None:
        (folder / "@eaDir").mkdir()
        (folder / "@eaDir" / "x.png").write_bytes(b"x")
        (folder / "y.png").write_bytes(b"x")
        eventually(lambda: inotify.of(b"y.png") == "changed")
        assert inotify.rels() == {b"y.png"}

    def test_the_removal_of_the_root_is_reported(self, inotify: Heard, folder: Path, eventually: Eventually) -> None:
        folder.rename(folder.with_name("moved"))
        eventually(lambda: len(inotify.failures) == 1)
        assert "the folder itself" in inotify.failures[0].reason

    def test_an_absent_folder_cannot_be_watched(self, tmp_path: Path) -> None:
        with pytest.raises(WatcherFailed, match="No such file"):
            Heard(open_watcher(os.fsencode(tmp_path / "none"), WatchFilter().enters))


@linux_only
def test_a_recreated_folder_is_watched_while_the_old_one_is_open(folder: Path, eventually: Eventually) -> None:
    """Whoever stands in the removed folder (a shell) delays the word of its end until after the new one was made."""
    (folder / "made").mkdir()
    heard = Heard(open_watcher(os.fsencode(folder), WatchFilter().enters))
    held = os.open(folder / "made", os.O_RDONLY)
    try:
        (folder / "made").rmdir()
        eventually(lambda: heard.of(b"made") == "gone")
        (folder / "made").mkdir()
        eventually(lambda: heard.of(b"made") == "appeared")
    finally:
        os.close(held)
    (folder / "made" / "first.png").write_bytes(b"x")
    eventually(lambda: b"made/first.png" in heard.rels())
    heard.forget()
    (folder / "made" / "second.png").write_bytes(b"x")
    eventually(lambda: b"made/second.png" in heard.rels())
    heard.watcher.close()
