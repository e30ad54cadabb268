"""Opening a file that somebody else named: never a link, a pipe, a device or a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from indexd.errors import NotRegularFile
from indexd.fs.paths import display

# Each is 0 where the system has no such flag. O_NONBLOCK: opening a pipe would wait for its writer for ever.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_SPECIAL_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def open_regular(path: bytes | str | Path) -> BinaryIO:
    """The open file (binary, for reading). Raises NotRegular, or OSError where it is gone or may not be read.

    Looks before it opens (a pipe whose writer waits would be woken) and again at what was opened (the name may have
    been given to something else in between).
    """
    return os.fdopen(open_descriptor(path), "rb")


def open_descriptor(path: bytes | str | Path) -> int:
    """Like `open_regular`, as a bare file descriptor, which the caller closes."""
    _refuse_special(path, os.lstat(path).st_mode)
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        _refuse_special(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def special_file_kind(mode: int) -> str:
    """What it is, by st_mode, where it is no regular file ("a pipe"), else ""."""
    if stat.S_ISREG(mode):
        return ""
    return next((name for is_kind, name in _SPECIAL_KINDS if is_kind(mode)), "something special")


def _refuse_special(path: bytes | str | Path, mode: int) -> None:
    kind = special_file_kind(mode)
    if not kind:
        return
    raise NotRegularFile(f"{display(os.fsencode(path))} is {kind}, not a regular file")
