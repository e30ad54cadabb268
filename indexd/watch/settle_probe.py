"""Probes one file: its stamp, and whether a program has it open for writing.

On Linux the kernel knows: a read lease is granted only while no descriptor of the file is open for writing
(fcntl(2), F_SETLEASE). It is held for a few microseconds; an open for writing that falls into them waits for its end.
The kernel announces such an open by SIGIO, whose default is to end the process, so SIGURG, which is ignored by default,
is asked for instead.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import NamedTuple

from indexd.errors import NotRegularFile
from indexd.fs.file_stamp import FileStamp
from indexd.fs.safe_open import open_descriptor


class FileProbe(NamedTuple):
    """`stamp` None: there is no regular file. `has_writer` None: the system cannot tell."""

    stamp: FileStamp | None
    has_writer: bool | None = None
    is_readable: bool = True


GONE = FileProbe(None)


def probe_file(path: bytes, *, use_leases: bool, stable_inodes: bool = True) -> FileProbe:
    """The state of the file now. Without `use_leases` (network mounts) the kernel is not asked for writers.

    A file that may not be opened still has a stamp: its handler records why it cannot be read.
    """
    try:
        if not use_leases:
            probe = _probe_by_stat(path, stable_inodes)
            return probe if probe == GONE else probe._replace(is_readable=os.access(path, os.R_OK))
        descriptor = open_descriptor(path)
    except (NotRegularFile, FileNotFoundError, NotADirectoryError):
        return GONE
    except PermissionError:
        return _probe_by_stat(path, stable_inodes)._replace(is_readable=False)
    except OSError:
        return _probe_by_stat(path, stable_inodes)
    try:
        has_writer = _has_writer(descriptor)
        return FileProbe(FileStamp.from_stat(os.fstat(descriptor), stable_inodes=stable_inodes), has_writer)
    finally:
        # Closing the only descriptor of this open file gives the lease back.
        os.close(descriptor)


def _probe_by_stat(path: bytes, stable_inodes: bool) -> FileProbe:
    try:
        found = os.lstat(path)
    except OSError:
        return GONE
    return FileProbe(FileStamp.from_stat(found, stable_inodes=stable_inodes)) if _is_regular(found.st_mode) else GONE


def _is_regular(mode: int) -> bool:
    return (mode & 0o170000) == 0o100000


if sys.platform == "linux":
    import fcntl

    def _has_writer(descriptor: int) -> bool | None:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            # EACCES: another user's file. EINVAL: the file system has no leases.
            return True if error.errno == errno.EAGAIN else None
        return False
else:

    def _has_writer(descriptor: int) -> bool | None:  # noqa: ARG001 - the same shape on every system
        return None
