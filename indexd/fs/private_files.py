"""Who owns a file and who may open it; files and folders that only this user may read, whatever the umask is.

Windows has no numeric user ids and no permission bits: access lists of the user's profile protect the files there.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

PRIVATE_UMASK = 0o077
GROUP_AND_OTHERS_MASK = stat.S_IRWXG | stat.S_IRWXO


_user_umask = -1


def set_private_umask() -> None:
    """Make every new file 0600 and every new folder 0700, in this process and its children."""
    global _user_umask
    _user_umask = os.umask(PRIVATE_UMASK)


def user_umask() -> int:
    """The umask with which the process was started, for programs of the user; -1 where it was not changed."""
    return _user_umask


def make_private_folder(folder: Path) -> None:
    """Make the folder and its missing parents as 0700; one that exists keeps its mode. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def current_user_id() -> int | None:
    """The effective numeric user id of this process; None on Windows."""
    if sys.platform == "win32":
        return None
    return os.geteuid()


def belongs_to_another_user(info: os.stat_result) -> bool:
    """Whether another user owns the file; never true on Windows."""
    user = current_user_id()
    return user is not None and info.st_uid != user


def may_be_opened_by_others(info: os.stat_result) -> bool:
    """Whether the mode gives the group or everybody any access; never true on Windows."""
    return sys.platform != "win32" and bool(info.st_mode & GROUP_AND_OTHERS_MASK)


def may_be_changed_by_others(folder: os.stat_result) -> bool:
    """Whether others may replace files in the folder: it is writable and not sticky; never true on Windows."""
    writable = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX
    return sys.platform != "win32" and bool(writable)
