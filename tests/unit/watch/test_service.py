"""WatchService on real folders with the watcher of the system."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexd.errors import StorageFull
from indexd.fs.file_stamp import SettledFile
from indexd.watch.indexed_files import InMemoryIndexedFiles
from indexd.watch.root_context import RootContext
from indexd.watch.roots import RootStatus, WatchedRoot, WatchOptions
from indexd.watch.service import WatchService, scan_roots_once
from indexd.watch.watch_filter import WatchFilter
from indexd.watch.watchers.watcher import FolderPredicate, Watcher, open_watcher
from indexd.watch.watchers.watchfiles_watcher import WatchfilesWatcher
from tests.unit.watch.manual_root import old_file

Eventually = Callable[[Callable[[], bool]], None]


class Library:
    """A handler that stores what it gets, and the events that were told."""

    def __init__(self) -> None:
        self.known = InMemoryIndexedFiles()
        self.delivered: Counter[bytes] = Counter()
        self.events: list[tuple[str, str, int | None]] = []
        self.states: list[RootStatus] = []
        self.gate = threading.Event()
        self.gate.set()

    def deliver(self, file: SettledFile) -> None:
        self.gate.wait(60)
        self.known.record(file.root_id, file.rel, file.stamp)
        self.delivered[file.rel] += 1

    def on_event(self, kind: str, text: str, root_id: int | None) -> None:
        self.events.append((kind, text, root_id))

    def context(self, **changes: Any) -> RootContext:
        return replace(RootContext(self.known, self.deliver, self.on_event), **changes)


@pytest.fixture
def library() -> Library:
    return Library()


def portable(root: bytes, enters: FolderPredicate) -> Watcher:
    return WatchfilesWatcher(os.fsdecode(root))


@pytest.fixture(params=["own", "portable"])
def service(request: pytest.FixtureRequest, folder: Path, library: Library) -> Iterator[WatchService]:
    made = WatchService(
        [WatchedRoot(1, os.fsencode(folder))],
        library.context(
            options=WatchOptions(settle_seconds=0.1, poll_seconds=0.2, sweep_seconds=0.5),
            on_state=library.states.append,
            open_watcher=open_watcher if request.param == "own" else portable,
        ),
    )
    made.start()
    yield made
    made.stop()


def watched(service: WatchService) -> bool:
    return all(status.last_reconcile is not None for status in service.status())


def test_a_written_file_is_delivered(
    service: WatchService, library: Library, folder: Path, eventually: Eventually
) -> None:
    eventually(lambda: watched(service))
    (folder / "written.png").write_bytes(b"x")
    (folder / "renamed.tmp").write_bytes(b"yy")
    (folder / "renamed.tmp").rename(folder / "renamed.png")
    eventually(lambda: set(library.delivered) == {b"written.png", b"renamed.png"})
    (folder / "written.png").write_bytes(b"another")
    eventually(lambda: library.delivered[b"written.png"] == 2)
    assert library.delivered[b"renamed.png"] == 1
    (folder / "written.png").unlink()
    eventually(lambda: b"written.png" in library.known.missing_stamps(1))


def test_folders_created_and_moved_in_while_running_are_watched(
    service: WatchService, library: Library, folder: Path, tmp_path: Path, eventually: Eventually
) -> None:
    for number in range(50):
        old_file(tmp_path / "tree" / f"{number % 5}" / "deep" / f"{number}.png")
    (tmp_path / "tree").rename(folder / "tree")
    for number in range(50):
        path = folder / "made" / f"{number}" / "x" / f"{number}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    eventually(lambda: len(library.delivered) == 100)
    assert set(library.delivered.values()) == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="only here may a name be any bytes")
def test_a_file_name_that_is_not_utf8_is_delivered(
    service: WatchService, library: Library, folder: Path, eventually: Eventually
) -> None:
    eventually(lambda: watched(service))
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (folder / "after.png").write_bytes(b"x")
    eventually(lambda: set(library.delivered) == {b"\xff.png", b"after.png"})


@pytest.mark.skipif(sys.platform == "win32", reason="Wine does not tell that a watched folder was removed")
def test_a_root_that_is_removed_and_created_again_is_watched(
    service: WatchService, library: Library, folder: Path, eventually: Eventually
) -> None:
    eventually(lambda: watched(service))
    folder.rmdir()
    eventually(lambda: not service.status()[0].online)
    folder.mkdir()
    (folder / "x.png").write_bytes(b"x")
    eventually(lambda: b"x.png" in library.delivered)
    eventually(lambda: service.status()[0].online)
    (folder / "y.png").write_bytes(b"x")
    eventually(lambda: b"y.png" in library.delivered)
    kinds = [kind for kind, _, _ in library.events]
    assert kinds.index("offline") < kinds.index("online")


def test_root_states_are_reported_when_they_change(
    service: WatchService, library: Library, folder: Path, eventually: Eventually
) -> None:
    found = folder.stat()
    eventually(lambda: any(state.identity == f"{found.st_dev}:{found.st_ino}" for state in library.states))
    assert library.states[-1].mode == "native"
    assert library.states[-1].reason.startswith("events by")


def test_a_slow_handler_delays_the_scan_and_loses_no_file(
    service: WatchService, library: Library, folder: Path, eventually: Eventually
) -> None:
    eventually(lambda: watched(service))
    library.gate.clear()
    for number in range(500):
        (folder / f"{number}.png").write_bytes(b"x")
    assert len(library.delivered) == 0
    library.gate.set()
    eventually(lambda: len(library.delivered) == 500)
    assert set(library.delivered.values()) == {1}


def test_a_completed_scan_has_delivered_its_files(service: WatchService, library: Library, folder: Path) -> None:
    for number in range(20):
        old_file(folder / f"{number}.png")
    service.scan(wait=True)
    assert len(library.delivered) == 20


def test_a_suspended_process_scans_after_it_resumes(library: Library, folder: Path, eventually: Eventually) -> None:
    now = [0.0]
    service = WatchService(
        [WatchedRoot(1, os.fsencode(folder), mode="poll")],
        library.context(options=WatchOptions(poll_seconds=3600)),
        suspend_aware_clock=lambda: now[0],
    )
    service.start()
    try:
        eventually(lambda: watched(service))
        old_file(folder / "x.png")
        now[0] += 1000
        eventually(lambda: b"x.png" in library.delivered)
        assert library.events[0][0] == "resume"
    finally:
        service.stop()


def test_stopping_leaves_no_thread_and_no_file(library: Library, folder: Path, eventually: Eventually) -> None:
    before = set(threading.enumerate())
    service = WatchService(
        [WatchedRoot(1, os.fsencode(folder)), WatchedRoot(2, os.fsencode(folder / "none"))],
        library.context(),
    )
    service.start()
    eventually(lambda: service.status()[0].last_reconcile is not None and len(library.events) == 1)
    service.stop()
    assert set(threading.enumerate()) <= before
    assert list(folder.iterdir()) == []
    service.scan(wait=True)


def test_scan_once_finds_everything_without_watching(library: Library, folder: Path) -> None:
    old_file(folder / "old.png")
    (folder / "young.png").write_bytes(b"x")
    old_file(folder / "skip" / "x.png")
    roots = [
        WatchedRoot(1, os.fsencode(folder), watch_filter=WatchFilter(exclude=["skip/**"])),
        WatchedRoot(2, os.fsencode(folder / "none")),
    ]
    for expected in (2, 0):
        library.delivered.clear()
        statuses = scan_roots_once(roots, library.context())
        assert len(library.delivered) == expected
        assert [status.online for status in statuses] == [True, False]


def test_a_root_state_that_could_not_be_stored_is_reported_again(
    folder: Path, library: Library, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexd.watch.root_thread._ERROR_PAUSE_SECONDS", 0.05)
    full = [True, True]

    def note(status: RootStatus) -> None:
        if full:
            full.pop()
            raise StorageFull("the disk is full")
        library.states.append(status)

    options = WatchOptions(settle_seconds=0.1, poll_seconds=0.1, sweep_seconds=0.1)
    roots = [WatchedRoot(1, os.fsencode(folder))]
    service = WatchService(roots, library.context(options=options, on_state=note))
    service.start()
    try:
        eventually(lambda: any(state.online and state.identity for state in library.states))
    finally:
        service.stop()
    assert not full
