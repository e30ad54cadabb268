"""File systems by the mount table."""

from __future__ import annotations

import os

import pytest

from indexd.fs.mounts import Mount, find_mount

TABLE = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /mnt/nas rw - cifs //nas/pictures rw
41 22 0:41 / /mnt/nas/my\\040disk rw - ext4 /dev/sdb1 rw
42 22 0:42 / /mnt/ssh rw - fuse.sshfs me@there:/ rw
43 22 0:43 / /mnt/stick rw - vfat /dev/sdc1 rw
44 22 0:44 / /mnt/pool rw - fuse.mergerfs a:b rw
45 22 0:45 / /mnt/stick rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.skipif(os.name == "nt", reason="paths of a Linux mount table")
@pytest.mark.parametrize(
    ("path", "mount"),
    [
        (b"/home/me", Mount("ext4", is_remote=False, has_stable_inodes=True)),
        (b"/mnt/nas/x", Mount("cifs", is_remote=True, has_stable_inodes=False)),
        (b"/mnt/nas/my disk/x", Mount("ext4", is_remote=False, has_stable_inodes=True)),
        (b"/mnt/nasty", Mount("ext4", is_remote=False, has_stable_inodes=True)),
        (b"/mnt/ssh", Mount("fuse.sshfs", is_remote=True, has_stable_inodes=False)),
        (b"/mnt/stick", Mount("tmpfs", is_remote=False, has_stable_inodes=True)),
        (b"/mnt/pool/x", Mount("fuse.mergerfs", is_remote=False, has_stable_inodes=False)),
    ],
)
def test_the_longest_and_last_mount_is_used(path: bytes, mount: Mount) -> None:
    assert find_mount(path, TABLE) == mount
