"""Size, time and inode of a file: enough to see that it changed, without reading it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

# The range of a signed 64-bit integer, which SQLite stores: in nanoseconds the years 1677 to 2262.
_MIN_TIME_NS, _MAX_TIME_NS = -(2**63), 2**63 - 1


class FileStamp(NamedTuple):
    """Size in bytes, modification time in ns within 64 bits, inode (0 where the file system has no stable ones)."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def from_stat(cls, stat: os.stat_result, *, stable_inodes: bool = True) -> FileStamp:
        """The stamp of one `stat` result, with bounded numbers."""
        return cls(stat.st_size, _bounded_ns(stat.st_mtime_ns), stat.st_ino if stable_inodes else 0)

    @classmethod
    def of_unreadable(cls, stat: os.stat_result, *, stable_inodes: bool = True) -> FileStamp:
        """The stamp under which a file that may not be opened is recorded: with the time of its last status change.

        A new permission changes that time alone, and the file must be read then.
        """
        return cls(stat.st_size, _bounded_ns(stat.st_ctime_ns), stat.st_ino if stable_inodes else 0)


def _bounded_ns(time_ns: int) -> int:
    return min(max(time_ns, _MIN_TIME_NS), _MAX_TIME_NS)


def file_identity(path: Path, *, follow_symlinks: bool = True) -> tuple[int, int] | None:
    """The device and inode of the file at `path`; None if there is none."""
    try:
        found = os.stat(path, follow_symlinks=follow_symlinks)
    except OSError:
        return None
    return found.st_dev, found.st_ino


_COARSEST_MTIME_NS = 2_000_000_000
"""The coarsest modification time that a file system in use keeps (FAT)."""


def is_relocated(known: FileStamp, now: FileStamp) -> bool:
    """Whether a file may be one of a tree that moved to another disk, as a person has recorded.

    `indexd relocate` cleared its inode; the new disk may keep coarser times.
    """
    same_time = abs(known.mtime_ns - now.mtime_ns) <= _COARSEST_MTIME_NS
    return not known.inode and bool(now.inode) and known.size == now.size and same_time


class SettledFile(NamedTuple):
    """A finished regular file under a watched root. `root` and `rel` are bytes, `rel` with `/`."""

    root_id: int
    root: bytes
    rel: bytes
    stamp: FileStamp
    purpose: str
