"""Atomic writes: a file appears whole or not at all, and never replaces one that exists."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from indexd.errors import StorageFull, raise_if_transient
from indexd.fs.paths import to_long_path

FaultHook = Callable[[str], None]
"""Called with the name of every point between two durable steps; a test ends the process there."""

DISK_FULL_ERRNOS = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))
# What a file system says that knows no hard links (FAT, some network shares).
_LINKS_UNSUPPORTED_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EACCES")
    if hasattr(errno, name)
)


def no_fault(_point: str) -> None:
    """The fault hook outside tests: does nothing."""


def write_new(temp: Path, final: Path, data: bytes | Path, fault: FaultHook = no_fault) -> None:
    """Put `data`, bytes or a copy of a file, at `final`, durable when this returns. Raises FileExistsError if it exists.

    `temp` lies on the same file system, belongs to the caller alone and is gone afterwards, except where the process died.
    Raises StorageFull when there is no room; then nothing of the file is left.
    """
    write_temp(temp, data, fault)
    try:
        place_temp(temp, final, fault)
    except FileExistsError:
        temp.unlink(missing_ok=True)
        raise


def write_temp(temp: Path, data: bytes | Path, fault: FaultHook = no_fault) -> None:
    """Write `data` to `temp`, durable when this returns. Raises StorageFull when there is no room; then nothing is left."""
    temp = _long_path(temp)
    try:
        _write_synced(temp, data, fault)
        fault("temp synced")
    except OSError as error:
        _raise_after_removal(temp, temp.parent, error)


def place_temp(temp: Path, final: Path, fault: FaultHook = no_fault) -> None:
    """Give a synced temporary file its final name, durable when this returns.

    Raises FileExistsError if `final` exists; `temp` is there still then. After any other OSError it is deleted.
    """
    temp, final = _long_path(temp), _long_path(final)
    try:
        move_no_replace(temp, final, fault)
    except FileExistsError:
        raise
    except OSError as error:
        _raise_after_removal(temp, final.parent, error)
    fsync_folder(final.parent)
    fault("folder synced")


def _raise_after_removal(temp: Path, folder: Path, error: OSError) -> NoReturn:
    temp.unlink(missing_ok=True)
    if error.errno in DISK_FULL_ERRNOS:
        raise StorageFull(f"the disk of {folder} is full; free some space") from None
    raise error


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both names are links to one file. Raises OSError if the machine is at fault."""
    try:
        return one.samefile(other)
    except OSError as error:
        raise_if_transient(error)
        return False


def move_no_replace(source: Path, target: Path, fault: FaultHook = no_fault) -> None:
    """Rename within one file system; raises FileExistsError instead of replacing anything."""
    if sys.platform == "win32":
        source.rename(target)  # there, renaming onto something that exists is an error
        fault("linked")
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _LINKS_UNSUPPORTED_ERRNOS:
            raise
        # Without hard links a file may appear between the check and the rename; no better way exists there.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
        fault("linked")
        return
    fault("linked")
    os.unlink(source)


def replace_file(temp: Path, final: Path, data: bytes) -> None:
    """Put `data` under `final` in the place of a file of ours. Raises StorageFull when there is no room."""
    try:
        _write_synced(temp, data, no_fault)
        os.replace(temp, final)
    except OSError as error:
        _raise_after_removal(temp, final.parent, error)
    fsync_folder(final.parent)


def fsync_file(path: Path) -> None:
    """Make the bytes of a file that somebody else wrote last through a power cut, where we may ask for it."""
    if sys.platform == "win32":
        return  # only who may write to it may ask
    with contextlib.suppress(PermissionError):
        _fsync_and_close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` last through a power cut, where the system has a way to ask for it."""
    if sys.platform != "win32":
        _fsync_and_close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def _fsync_and_close(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network shares cannot sync a folder
            raise
    finally:
        os.close(handle)


def _long_path(path: Path) -> Path:
    """The path in a form that the system opens, however long it is."""
    return Path(to_long_path(str(path))) if sys.platform == "win32" else path


def _write_synced(temp: Path, data: bytes | Path, fault: FaultHook) -> None:
    temp.unlink(missing_ok=True)
    with open(temp, "xb") as file:
        fault("temp opened")
        if isinstance(data, bytes):
            file.write(data)
        else:
            with open(data, "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
        fault("temp written")
        file.flush()
        os.fsync(file.fileno())
