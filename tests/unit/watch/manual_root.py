"""A root without a thread: the test controls its clock, its watcher and its index."""

from __future__ import annotations

import os
import time
from pathlib import Path

from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.watch.indexed_files import InMemoryIndexedFiles
from indexd.watch.root_context import RootContext
from indexd.watch.root_loop import RootLoop
from indexd.watch.roots import RootStatus, WatchedRoot, WatchOptions
from indexd.watch.watchers.fake_watcher import FakeWatcherFactory
from indexd.watch.watchers.watcher import Hint, WatcherFailed
from indexd.watch.watchers.watcher_lifecycle import COOKIE_NAME

ROOT_ID = 7


class ManualRoot:
    """Rounds of one root with a clock that only `run` moves; the handler stores what it gets in `known` at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.known = InMemoryIndexedFiles()
        self.watchers = FakeWatcherFactory()
        self.delivered: list[bytes] = []
        self.events: list[tuple[str, str]] = []
        self.stores = True
        self.fails = False
        self.answers_cookies = True
        self.loop: RootLoop | None = None

    def open(
        self, root: WatchedRoot | None = None, options: WatchOptions | None = None, *refusals: WatcherFailed
    ) -> ManualRoot:
        """Make the rounds and run the first comparison."""
        self.watchers = FakeWatcherFactory(*refusals)
        self.loop = RootLoop(
            root or WatchedRoot(ROOT_ID, os.fsencode(self.path)),
            RootContext(
                self.known,
                self.deliver,
                lambda kind, text, root_id: self.events.append((kind, text)),
                options or WatchOptions(),
                open_watcher=self.watchers,
                clock=lambda: self.now,
            ),
            lambda: None,
        )
        self.run()
        return self

    def reopen(self) -> ManualRoot:
        """Start again with the index as it is, as a new daemon would."""
        assert self.loop is not None
        identity, stranger = self.status.identity, self.status.foreign_root
        self.loop.close()
        return self.open(WatchedRoot(ROOT_ID, os.fsencode(self.path), identity=identity, foreign_root=stranger))

    def deliver(self, file: SettledFile) -> None:
        self.delivered.append(file.rel)
        if self.fails:
            raise ValueError("the handler has a bug")
        if self.stores:
            self.known.record(file.root_id, file.rel, file.stamp)

    def run(self, seconds: float = 0.0) -> None:
        """Let `seconds` pass, doing every round that falls due."""
        assert self.loop is not None
        until = self.now + seconds
        for _ in range(100_000):
            if self.answers_cookies and self.watchers.opened:
                self.watchers.current.emit(Hint(COOKIE_NAME, "changed", is_folder=False))
            due = self.loop.run_once()
            if due > until:
                self.now = until
                return
            self.now = max(self.now, due)
        raise AssertionError("the rounds never come to rest")

    def say(self, *hints: Hint) -> None:
        """The watcher reports, and the rounds run until nothing is due."""
        self.watchers.current.emit(*hints)
        self.run()

    def take(self) -> list[bytes]:
        """What was delivered since the last call, sorted."""
        taken, self.delivered = sorted(self.delivered), []
        return taken

    def present(self) -> list[bytes]:
        return sorted(self.known.present_stamps(ROOT_ID))

    def missing(self) -> list[bytes]:
        return sorted(self.known.missing_stamps(ROOT_ID))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    @property
    def status(self) -> RootStatus:
        assert self.loop is not None
        return self.loop.status()


def old_file(path: Path, data: bytes = b"picture") -> Path:
    """A file that was last written an hour ago, in folders that were too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    set_age(path, 3600)
    return path


def set_age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def stamp_of(path: Path) -> FileStamp:
    return FileStamp.from_stat(path.stat())
