"""What a directory entry says of a file: enough to see that it changed, without reading it."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileStamp(NamedTuple):
    """Size in bytes, modification time in ns, inode (0 where the file system has none that lasts)."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def from_stat(cls, stat: os.stat_result, *, stable_inodes: bool = True) -> FileStamp:
        """The stamp of one `stat` result; `inodes` False where inodes do not last."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino if stable_inodes else 0)


_COARSEST_MTIME_NS = 2_000_000_000
"""The coarsest modification time that a file system in use keeps (FAT)."""


def is_relocated(known: FileStamp, now: FileStamp) -> bool:
    """Whether a file may be taken for one that a person said has moved to another disk with its whole tree.

    Its inode was blanked when that was said; the new disk may keep coarser times.
    """
    same_time = abs(known.mtime_ns - now.mtime_ns) <= _COARSEST_MTIME_NS
    return not known.inode and bool(now.inode) and known.size == now.size and same_time


class SettledFile(NamedTuple):
    """A regular file under a watched root that nobody writes to any more. `root` and `rel` are bytes, `rel` with `/`."""

    root_id: int
    root: bytes
    rel: bytes
    stamp: FileStamp
    purpose: str
