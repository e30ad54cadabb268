"""A disk that fails on command: an apsw VFS for tests. `Store.open(path, vfs=disk.name)` puts an index on it."""

from __future__ import annotations

import itertools

import apsw

_numbers = itertools.count(1)


class FaultyDisk:
    """Counts the writes and syncs of every file on it, and fails from a chosen one on until it is mended."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_numbers)}"
        self.writes = 0
        self.syncs = 0
        self._write_limit: int | None = None
        self._sync_limit: int | None = None
        self._vfs = _FaultyVFS(self.name, self)

    def fill_after(self, writes: int) -> None:
        """Let so many more writes pass; then the disk is full."""
        self._write_limit = self.writes + writes

    def break_syncs_after(self, syncs: int) -> None:
        """Let so many more syncs pass; then each one is an input/output error."""
        self._sync_limit = self.syncs + syncs

    def repair(self) -> None:
        """Everything works again."""
        self._write_limit = self._sync_limit = None

    def remove(self) -> None:
        """Take the VFS away; no index may be open on it."""
        self._vfs.unregister()

    def before_write(self) -> None:
        """Called by the files before each write."""
        if self._write_limit is not None and self.writes >= self._write_limit:
            raise apsw.FullError("the disk is full (on purpose)")
        self.writes += 1

    def before_sync(self) -> None:
        """Called by the files before each sync."""
        if self._sync_limit is not None and self.syncs >= self._sync_limit:
            raise apsw.IOError("the disk failed (on purpose)")
        self.syncs += 1


class _FaultyVFS(apsw.VFS):
    def __init__(self, name: str, disk: FaultyDisk) -> None:
        super().__init__(name, "")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        return _FaultyFile(self._disk, name, flags)


class _FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.before_write()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.before_sync()
        super().xSync(flags)
