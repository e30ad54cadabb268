"""Whether a folder lies on a network file system, where SQLite's locks and shared memory cannot be trusted.

See https://sqlite.org/wal.html ("all processes using a database must be on the same host").
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

# fmt: off
_NETWORK = frozenset((
    "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph", "fuse.davfs", "fuse.davfs2",
    "fuse.gcsfuse", "fuse.glusterfs", "fuse.mfs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "macfuse.sshfs", "ncpfs", "nfs", "nfs4", "orangefs", "smb3", "smbfs",
    "webdav",
))
# fmt: on
_DRIVE_REMOTE = 4
_MOUNT_LINE = re.compile(r"^.+? on (?P<place>.+?) \((?P<kind>[^,)]+)")


def network_filesystem(folder: Path) -> str | None:
    """The name of the network file system that `folder` (which exists) lies on, or None when it is a local disk."""
    real = os.path.realpath(folder)
    if sys.platform == "win32":
        return _windows_share(real)
    try:
        if sys.platform == "darwin":
            mounts = parse_mount(subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=True).stdout)
        else:
            mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))
    except (OSError, subprocess.SubprocessError):
        return None
    return network_kind(real, mounts)


def network_kind(folder: str, mounts: list[tuple[str, str]]) -> str | None:
    """The network file system among `mounts` (place, kind) that holds `folder`. Of two at one place the later hides the other."""
    holding = [(len(place), at, kind, place) for at, (place, kind) in enumerate(mounts) if _contains(place, folder)]
    if not holding:
        return None
    _, _, kind, place = max(holding)
    # A sandbox's own disk may be 9p at /; WSL's Windows drives are 9p at /mnt/c.
    return kind if kind in _NETWORK and (kind != "9p" or place != "/") else None


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """(place, kind) of every line of /proc/self/mountinfo; see proc(5)."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) > 4 and after:
            place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
            mounts.append((place, after.split(" ")[0]))
    return mounts


def parse_mount(text: str) -> list[tuple[str, str]]:
    """(place, kind) of every line that macOS's `mount` prints: `//me@host/share on /Volumes/share (smbfs, nodev)`."""
    return [(match["place"], match["kind"]) for line in text.splitlines() if (match := _MOUNT_LINE.match(line))]


def _contains(place: str, folder: str) -> bool:
    return place == "/" or folder == place or folder.startswith(place + "/")


def _windows_share(real: str) -> str | None:
    if real.startswith("\\\\") and not real.startswith("\\\\?\\"):
        return "a network share"
    if sys.platform == "win32":
        import ctypes

        drive = os.path.splitdrive(real)[0] + "\\"
        return "a network drive" if ctypes.windll.kernel32.GetDriveTypeW(drive) == _DRIVE_REMOTE else None
    return None
