"""Files and folders that only this user may read, whatever umask the process was started with."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_UMASK = 0o077


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
