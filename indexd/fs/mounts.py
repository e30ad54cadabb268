"""On what file system does a folder lie, and what does that mean for watching it?"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import is_resource_shortage

_MOUNTINFO = Path("/proc/self/mountinfo")

# Changes that other machines (or the host of a virtual machine) make there give no events here.
_REMOTE_FILE_SYSTEMS = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "drvfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
    ]
)
_LOCAL_FUSE_FILE_SYSTEMS = frozenset({"fuse.mergerfs", "fuse.bindfs", "fuse.gocryptfs", "fuse.encfs"})
# Inodes are made up anew by every mount.
_UNSTABLE_INODE_FILE_SYSTEMS = frozenset(
    {"vfat", "msdos", "exfat", "ntfs3", "fuseblk", "9p", "cifs", "smb3", "drvfs", "vboxsf"}
)


@dataclass(frozen=True, slots=True)
class Mount:
    """The file system of a folder, by `name` ("" = unknown).

    `is_remote`: other machines may change it without an event. `has_stable_inodes`: inode numbers last.
    """

    name: str = ""
    is_remote: bool = False
    has_stable_inodes: bool = os.name != "nt"


def find_mount(path: bytes, table: bytes | None = None) -> Mount:
    """What is known of the file system under a folder; `table` is the text of /proc/self/mountinfo (None = read it).

    Raises OSError where the system has no handle to give: a share must not be taken for a disk.
    """
    if table is None:
        if sys.platform != "linux":
            return Mount()
        try:
            table = _MOUNTINFO.read_bytes()
        except OSError as error:
            if is_resource_shortage(error):
                raise
            return Mount()
    real = os.path.realpath(path)
    best, name = b"", ""
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if len(fields) < 5 or not after:
            continue
        point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), fields[4])
        inside = real == point or real.startswith(point.rstrip(b"/") + b"/")
        # >=: of two mounts on one point the later one is on top.
        if inside and len(point) >= len(best):
            best, name = point, after.split(b" ")[0].decode("ascii", "replace")
    fuse = name.startswith("fuse.")
    return Mount(
        name=name,
        is_remote=name in _REMOTE_FILE_SYSTEMS or (fuse and name not in _LOCAL_FUSE_FILE_SYSTEMS),
        has_stable_inodes=not (fuse or name in _UNSTABLE_INODE_FILE_SYSTEMS),
    )
