"""What Windows makes of a path: drive letters that a service cannot see, and shares. All on `PureWindowsPath`, no disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import PureWindowsPath

ShareLookup = Callable[[str], str | None]
"""A drive (`Z:`) -> the share it stands for (`\\\\nas\\pictures`), None when it is a disk of this machine."""


def mapped_drive_paths(paths: Iterable[str], share_of: ShareLookup) -> list[tuple[str, str]]:
    """Every path on a mapped drive, with the same path by way of its share."""
    found = []
    for text in paths:
        path = PureWindowsPath(text)
        if len(path.drive) == 2 and path.drive[1] == ":" and (share := share_of(path.drive.upper())) is not None:
            found.append((text, str(PureWindowsPath(share + "\\", *path.parts[1:]))))
    return found


def mapped_drive_warnings(paths: Iterable[str], share_of: ShareLookup) -> list[str]:
    """A sentence for every path that only the session of a person can see."""
    return [
        f"warning: {path} is on a mapped drive, and a service cannot see those; write {share} in the settings"
        for path, share in mapped_drive_paths(paths, share_of)
    ]


def share_of_drive(drive: str) -> str | None:
    """What Windows says the drive stands for (WNetGetConnectionW). None elsewhere, and for a disk of this machine."""
    if sys.platform == "win32":
        import ctypes

        buffer = ctypes.create_unicode_buffer(1024)
        length = ctypes.c_ulong(len(buffer))
        if not ctypes.windll.mpr.WNetGetConnectionW(drive, buffer, ctypes.byref(length)):
            return buffer.value or None
    return None
