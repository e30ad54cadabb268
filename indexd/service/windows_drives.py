"""Finds paths on mapped network drives, which a Windows service cannot access. Reads no disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import PureWindowsPath

ShareLookup = Callable[[str], str | None]
"""Maps a drive (`Z:`) to its share (`\\\\nas\\images`), or to None for a local disk."""


def mapped_drive_paths(paths: Iterable[str], share_of: ShareLookup) -> list[tuple[str, str]]:
    """Each path on a mapped drive, with its UNC path."""
    mapped = []
    for text in paths:
        path = PureWindowsPath(text)
        if len(path.drive) == 2 and path.drive[1] == ":" and (share := share_of(path.drive.upper())) is not None:
            mapped.append((text, str(PureWindowsPath(share + "\\", *path.parts[1:]))))
    return mapped


def mapped_drive_warnings(paths: Iterable[str], share_of: ShareLookup) -> list[str]:
    """A warning for each path on a mapped drive."""
    return [
        f"warning: {path} is on a mapped drive, which a service cannot access; write {share} in the settings"
        for path, share in mapped_drive_paths(paths, share_of)
    ]


def share_of_drive(drive: str) -> str | None:
    """The share of a mapped drive (WNetGetConnectionW); None for a local disk and on other systems."""
    if sys.platform == "win32":
        import ctypes

        buffer = ctypes.create_unicode_buffer(1024)
        length = ctypes.c_ulong(len(buffer))
        if not ctypes.windll.mpr.WNetGetConnectionW(drive, buffer, ctypes.byref(length)):
            return buffer.value or None
    return None
