"""Connections to the index: one writer behind a lock, a few readers beside it, and errors as sentences."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, cast

import apsw
import sqlite_vec

from indexd.background.signal import Signal
from indexd.errors import IndexDamaged, StorageFull, StoreError, StoreUnavailable
from indexd.fs.file_stamp import file_identity
from indexd.store.records import StoreChanges
from indexd.store.sqlite.change_feed import ChangeFeed

BUSY_TIMEOUT_MS = 10_000
# Half-precision vectors of 1024 numbers are 2 KiB: pages of 4 KiB hold one and waste the rest, these hold seven.
PAGE_BYTES = 16_384
WAL_SIZE_LIMIT_BYTES = 64 << 20
# What SQLite keeps beside a file in WAL mode. The log belongs to its index: beside another it would be read as changes.
WAL_SUFFIXES = ("-wal", "-shm")
# A cache of four times this size saves 0.8 page reads per image (about 10 us, 100 000 images) and takes an hour to fill.
WRITER_CACHE_KIB = 4_096
READER_CACHE_KIB = 4_096

_SYNC_FULL = "PRAGMA synchronous = FULL"
_SYNC_NORMAL = "PRAGMA synchronous = NORMAL"


class QueryRows(Protocol):
    """The rows of a query, each a tuple of the columns asked for."""

    def __iter__(self) -> Iterator[Any]: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What a transaction may do: the part of `apsw.Connection` that the table families use."""

    def execute(self, statements: str, bindings: Sequence[Any] = ()) -> QueryRows: ...
    def executemany(self, statements: str, bindings: Iterable[Sequence[Any]]) -> QueryRows: ...
    def changes(self) -> int: ...
    def last_insert_rowid(self) -> int: ...
    def pragma(self, name: str, value: str | int | None = None) -> Any: ...


class Database:
    """The open file. Every write is BEGIN IMMEDIATE on the one writer; every read is one snapshot on a pooled reader.

    A read that turns into a write after somebody else's commit fails at once with BUSY_SNAPSHOT, whatever the busy
    timeout (https://sqlite.org/rescode.html#busy_snapshot); hence writes never start as reads.
    """

    def __init__(self, path: Path, *, read_only: bool = False, vfs: str | None = None) -> None:
        self.path = path
        self.read_only = read_only
        self._vfs = vfs
        self._write_lock = threading.RLock()
        self._readers_lock = threading.Lock()
        self._readers: list[apsw.Connection] = []
        self._closed = False
        self._is_sync_full = False
        # True once the file is known to be an index. Never write a damage marker next to a foreign file.
        self.is_index = False
        self.damaged: Signal[[IndexDamaged]] = Signal("index damaged")
        self._file_identities: dict[Path, tuple[int, int]] = {}
        self.change_feed = ChangeFeed()
        with translate_errors(path):
            self._writer = self._connect(writing=not read_only)

    def _connect(self, *, writing: bool) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY
        if writing:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(self.path), flags=flags, vfs=self._vfs)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.enable_load_extension(True)
        connection.load_extension(sqlite_vec.loadable_path())
        connection.enable_load_extension(False)
        if writing:
            # Before the cache: SQLite counts its pages by the size that they have then, and of these four times as many
            # would have room in it.
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}").fetchall()
        connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB if writing else READER_CACHE_KIB}").fetchall()
        connection.execute("PRAGMA temp_store = MEMORY").fetchall()
        if writing:
            connection.execute(f"PRAGMA journal_size_limit = {WAL_SIZE_LIMIT_BYTES}").fetchall()
            connection.execute("PRAGMA foreign_keys = ON").fetchall()
            connection.execute(_SYNC_NORMAL).fetchall()
        return connection

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """One write transaction: committed at the end of the block, rolled back when it raises.

        `durable`: the commit has reached the disk before it returns (synchronous FULL); otherwise a power cut, and only
        that, may lose the last commits (but never tears them).
        """
        if self.read_only:
            raise StoreError(f"the index {self.path} was opened for reading only")
        with self._write_lock, self._reporting_damage():
            connection = self._open_writer()
            self._refuse_lost_files()
            if durable != self._is_sync_full:
                connection.execute(_SYNC_FULL if durable else _SYNC_NORMAL).fetchall()
                self._is_sync_full = durable
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield cast("Connection", connection)
                connection.execute("COMMIT")
                report_changes = self.change_feed.on_commit()
            except BaseException:
                self.change_feed.on_rollback()
                # Some errors (disk full, I/O) have rolled back already, and then ROLLBACK would be an error itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        report_changes()

    def watch_changes(self, listener: Callable[[StoreChanges], None]) -> Callable[[], None]:
        """Call `listener` after every commit that changed something; see ChangeFeed. Returns the function that ends it."""
        with self._write_lock:
            self.change_feed.install(self._open_writer())
        return self.change_feed.committed.subscribe(listener)

    @contextmanager
    def outside_transaction(self) -> Iterator[Connection]:
        """The writer's connection with its lock held and no transaction begun (VACUUM INTO, journal mode)."""
        with self._write_lock, self._reporting_damage():
            yield cast("Connection", self._open_writer())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot for reading. Keep the block short: an open snapshot stops the WAL from being reused."""
        with self._reporting_damage():
            connection = self._acquire_reader()
            try:
                connection.execute("BEGIN")
                try:
                    yield cast("Connection", connection)
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            except BaseException:
                connection.close(True)
                raise
            self._release_reader(connection)

    @contextmanager
    def _reporting_damage(self) -> Iterator[None]:
        """Damage leaves a mark beside the file, for which the next start reads the whole index, and is told at once."""
        try:
            with translate_errors(self.path):
                yield
        except IndexDamaged as error:
            if self.is_index:
                with suppress(OSError):
                    suspect_marker(self.path).touch()
            self.damaged.emit(error)
            raise

    def guard_files(self) -> None:
        """From now on refuse writes when the index, its log or its shared memory is deleted or replaced."""
        files = (self.path, *(self.path.with_name(f"{self.path.name}{suffix}") for suffix in WAL_SUFFIXES))
        self._file_identities = {file: found for file in files if (found := file_identity(file)) is not None}

    def lost_files(self) -> str | None:
        """Which guarded files were deleted or replaced, as a sentence; None when all are in place."""
        lost = [file.name for file, identity in self._file_identities.items() if file_identity(file) != identity]
        if not lost:
            return None
        return f"{' and '.join(lost)} in {self.path.parent} was deleted or replaced while indexd runs"

    def is_index_in_place(self) -> bool:
        """Whether the file at the path of the index is the open one."""
        return file_identity(self.path) == self._file_identities.get(self.path)

    def _refuse_lost_files(self) -> None:
        if (lost := self.lost_files()) is not None:
            raise StoreUnavailable(f"{lost}; nothing is written until its content is saved. Try again in some seconds")

    def _open_writer(self) -> apsw.Connection:
        if self._closed:
            raise StoreError(f"the index {self.path} is closed")
        return self._writer

    def _acquire_reader(self) -> apsw.Connection:
        with self._readers_lock:
            self._open_writer()
            if self._readers:
                return self._readers.pop()
        # SQLite opens the log by its path, so a new connection would not read the log of the others.
        self._refuse_lost_files()
        return self._connect(writing=False)

    def _release_reader(self, connection: apsw.Connection) -> None:
        with self._readers_lock:
            if not self._closed:
                self._readers.append(connection)
                return
        connection.close()

    def release_memory(self) -> None:
        """Free the page caches of idle readers; reading a page again takes less than a millisecond.

        The writer keeps its cache, because the next image needs it.
        """
        with self._readers_lock:
            count = len(self._readers)
        with translate_errors(self.path):
            for _ in range(count):
                # One at a time: whoever found none here meanwhile would open another, and every one that is opened stays.
                with self._readers_lock:
                    if not self._readers:
                        return
                    reader = self._readers.pop(0)
                reader.execute("PRAGMA shrink_memory").fetchall()
                self._release_reader(reader)

    def close(self) -> None:
        """Close every connection. A reader still at work in another thread closes its own when it is done."""
        with self._readers_lock:
            if self._closed:
                return
            self._closed = True
            readers, self._readers = self._readers, []
        for reader in readers:
            reader.close()
        with self._write_lock:
            if not self.read_only:
                self._optimize()
            self._writer.close()

    def _optimize(self) -> None:
        """Refresh the planner's statistics where they are stale; a full or busy disk only means that they stay so."""
        try:
            self._writer.set_busy_timeout(0)
            self._writer.execute("PRAGMA analysis_limit = 400").fetchall()
            self._writer.execute("PRAGMA optimize").fetchall()
        except apsw.Error:
            return


def suspect_marker(path: Path) -> Path:
    """The mark of an index in which damage was met."""
    return path.with_name(f"{path.name}.suspect")


def _is_disk_full(folder: Path) -> bool:
    """Whether the disk is full; or out of inodes, of which some file systems have no end (and say 0 of 0)."""
    try:
        if shutil.disk_usage(folder).free < 4 * PAGE_BYTES:
            return True
        found = os.statvfs(folder) if hasattr(os, "statvfs") else None
    except OSError:
        return False
    return found is not None and found.f_files > 0 and found.f_favail == 0


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into StoreError with what happened and what to do; a bug (SQLError) stays a bug."""
    try:
        yield
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
        # Where the file that readers and writers share finds no room, SQLite speaks of an input/output error, and of one
        # that it cannot open where no file can be made.
        if not isinstance(error, apsw.FullError) and not _is_disk_full(path.parent):
            if isinstance(error, apsw.CantOpenError):
                raise StoreUnavailable(f"cannot open the index {path}: {error}") from error
            raise StoreUnavailable(f"cannot read or write the index {path}: {error}; check the disk") from error
        raise StorageFull(
            f"the disk of the index {path} is full; nothing of this change was kept. Free some space"
        ) from None
    except apsw.BusyError:
        raise StoreUnavailable(
            f"the index {path} is being written by another program for more than {BUSY_TIMEOUT_MS // 1000} s; try again"
        ) from None
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise IndexDamaged(
            f"the index {path} is damaged or not an index ({error}); `indexd run` renames a damaged index and"
            " rebuilds it with everything that you entered; it changes no image"
        ) from error
    except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StoreUnavailable(f"cannot write the index {path}: {error}; check who owns it and its folder") from error
