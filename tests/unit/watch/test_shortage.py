"""A lack of file handles at any moment of watching: every file is delivered before the next full scan."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("file handles are limited with POSIX means", allow_module_level=True)

import resource

from indexd.errors import IndexdError, is_transient
from indexd.watch import sidecar_names
from indexd.watch.indexed_files import InMemoryIndexedFiles
from indexd.watch.root_context import RootContext
from indexd.watch.roots import WatchedRoot, WatchOptions
from indexd.watch.service import scan_roots_once
from indexd.watch.watchers.inotify_watcher import InotifyWatcher
from indexd.watch.watchers.watcher import Hint, Watcher, WatcherFailed
from indexd.watch.watchers.watchfiles_watcher import WatchfilesWatcher
from tests.support.handle_shortage import HandleShortage, refuse_each
from tests.unit.watch.manual_root import ROOT_ID, ManualRoot, old_file

SOON = 60.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux")


def _run(manual_root: ManualRoot, seconds: float = 0.0) -> None:
    """As the thread of a root does it: what the machine refuses is told, and everything is compared again."""
    assert manual_root.loop is not None
    until = manual_root.now + seconds
    for _ in range(100):
        try:
            manual_root.run(max(0.0, until - manual_root.now))
        except Exception as error:
            assert is_transient(error), error
            manual_root.loop.recover_from_error()
        else:
            return
    raise AssertionError("it never came through")


@pytest.mark.parametrize("count", [1, 6])
def test_new_files_are_delivered_soon_whichever_open_fails_for_lack_of_handles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, count):
        with shortage.paused():
            root = tmp_path / str(number)
            old_file(root / "old" / "a.png")
        manual_root = ManualRoot(root)
        try:
            manual_root.open()
        except OSError:
            assert manual_root.loop is not None
            manual_root.loop.recover_from_error()
        _run(manual_root)
        manual_root.watchers.current.emit()
        with shortage.paused():
            for name in ("b.png", "new/c.png", "new/below/d.png", "old/a.txt"):
                old_file(root / name)
            (root / "log.html").write_bytes(b"<a href='b.png'>")
        manual_root.watchers.current.emit(
            Hint(b"b.png", "changed", is_folder=False), Hint(b"new", "appeared", is_folder=True)
        )
        manual_root.watchers.current.emit(Hint(b"log.html", "renamed", is_folder=False))
        _run(manual_root, SOON)
        with shortage.paused():
            assert manual_root.present() == [b"b.png", b"new/below/d.png", b"new/c.png", b"old/a.png"], number
            assert manual_root.status.online and manual_root.status.mode == "native", number
            assert manual_root.status.pending == 0
        assert manual_root.loop is not None
        manual_root.loop.close()
    assert number > 10


def test_the_next_sweep_lists_a_folder_after_a_disk_error(
    manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(folder / "old" / "a.png")
    listed = os.scandir

    def fails(path: bytes) -> object:
        if path.endswith(b"old"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return listed(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fails)
        manual_root.open(None, WatchOptions(sweep_seconds=20.0, reconcile_seconds=3600.0))
    assert manual_root.take() == []
    manual_root.run(SOON)
    assert manual_root.take() == [b"old/a.png"]


def _refusing(name: str, number: int) -> Callable[[bytes], object]:
    listed = os.scandir

    def scandir(path: bytes) -> object:
        if path.endswith(name.encode()):
            raise OSError(number, os.strerror(number))
        return listed(path)

    return scandir


@pytest.mark.parametrize("number", [errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.ESTALE])
def test_a_folder_that_can_never_be_listed_delays_no_other(
    manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("a/a.png", "bad/b.png", "z/c.png"):
        old_file(folder / name)
    manual_root.open()
    manual_root.take()
    monkeypatch.setattr(os, "scandir", _refusing("bad", number))
    (folder / "a" / "a.png").unlink()
    old_file(folder / "z" / "new.png")
    assert manual_root.loop is not None
    manual_root.loop.request_scan("a person asks", "scan")
    manual_root.run()
    assert manual_root.take() == [b"z/new.png"]
    assert manual_root.present() == [b"bad/b.png", b"z/c.png", b"z/new.png"]


def test_an_unreadable_folder_log_delays_nothing_else(
    manual_root: ManualRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "gone.png"):
        old_file(folder / name)
    manual_root.open()
    (folder / "log.html").write_bytes(b"<a href='a.png'>")
    (folder / "gone.png").unlink()

    def refuses(_path: bytes) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sidecar_names, "open_regular", refuses)
    assert manual_root.loop is not None
    manual_root.loop.request_scan("a person asks", "scan")
    manual_root.run()
    assert manual_root.present() == [b"a.png"]


@linux_only
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.ENOMEM])
def test_a_folder_that_cannot_be_listed_leaves_the_others_watched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], None], number: int
) -> None:
    for name in ("bad", "good"):
        (folder / name).mkdir()
    hints: dict[bytes, Hint] = {}
    watcher = InotifyWatcher(os.fsencode(folder), lambda _rel: True)
    monkeypatch.setattr(os, "scandir", _refusing("bad", number))
    watcher.start(hints.update, lambda _failure: None)
    (folder / "good" / "a.png").write_bytes(b"a")
    eventually(lambda: b"good/a.png" in hints)
    watcher.close()


def test_a_scan_without_handles_logs_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = WatchedRoot(ROOT_ID, os.fsencode(folder))
    HandleShortage(monkeypatch).refuse(0, 1)
    with pytest.raises(IndexdError, match="Too many open files"):
        scan_roots_once([root], RootContext(InMemoryIndexedFiles(), lambda _file: None, lambda *_event: None))


@contextmanager
def _handles(free: int) -> Iterator[None]:
    """Inside this block the process has so many handles left."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        highest = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, before[1]))
        while True:
            taken.append(os.dup(0))
    except OSError:
        for _ in range(free):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@linux_only
@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_a_watcher_without_a_handle_reports_a_transient_error_and_leaks_none(folder: Path, free: int) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    watcher = InotifyWatcher(os.fsencode(folder), lambda _rel: True)
    with _handles(free), pytest.raises(WatcherFailed) as failed:
        watcher.start(lambda _hints: None, lambda _failure: None)
    assert not failed.value.permanent
    assert sorted(os.listdir("/proc/self/fd")) == before
    watcher.start(lambda _hints: None, lambda _failure: None)
    watcher.close()


def _inotify_watcher(folder: Path) -> Watcher:
    return InotifyWatcher(os.fsencode(folder), lambda _rel: True)


def _watchfiles_watcher(folder: Path) -> Watcher:
    return WatchfilesWatcher(str(folder))


@pytest.mark.parametrize("make", [pytest.param(_inotify_watcher, marks=linux_only), _watchfiles_watcher])
def test_a_watcher_without_a_thread_reports_a_transient_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Watcher]
) -> None:
    def refuses(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watcher = make(folder)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        with pytest.raises(WatcherFailed, match="thread") as failed:
            watcher.start(lambda _hints: None, lambda _failure: None)
    assert not failed.value.permanent
    watcher.close()


@linux_only
def test_a_new_folder_that_cannot_be_listed_is_reported_as_unwatched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    def refuses(_path: bytes) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    failures: list[WatcherFailed] = []
    watcher = InotifyWatcher(os.fsencode(folder), lambda _rel: True)
    watcher.start(lambda _hints: None, failures.append)
    monkeypatch.setattr(os, "scandir", refuses)
    (folder / "new").mkdir()
    eventually(lambda: bool(failures))
    watcher.close()
    assert not failures[0].permanent
