"""Local disks and network shares are distinguished."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from indexd.store.sqlite.network_fs import network_filesystem, network_kind, parse_mount, parse_mountinfo

MOUNTINFO = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:27 / /mnt/my\040nas rw shared:1 - nfs4 nas:/pictures rw,vers=4.2
32 22 0:28 / /mnt/share rw - cifs //host/share rw
33 32 0:29 / /mnt/share/local rw - ext4 /dev/sdb1 rw
34 22 0:30 / /home/me/remote rw - fuse.sshfs me@host: rw
35 22 0:31 / /mnt/c rw - 9p C:\134 rw
36 22 0:32 / /hidden rw - ext4 /dev/sdc rw
37 22 0:33 / /hidden rw - nfs nas:/x rw
a line that is none
"""

MOUNT = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
//me@host/pictures on /Volumes/pictures (smbfs, nodev, nosuid, mounted by me)
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", None),
        ("/mnt/my nas", "nfs4"),
        ("/mnt/my nas/deep/er", "nfs4"),
        ("/mnt/my nasty", None),
        ("/mnt/share/x", "cifs"),
        ("/mnt/share/local/x", None),
        ("/home/me/remote/data", "fuse.sshfs"),
        ("/mnt/c/Users", "9p"),
        ("/hidden", "nfs"),
    ],
)
def test_the_mount_of_the_folder_decides(folder: str, kind: str | None) -> None:
    assert network_kind(folder, parse_mountinfo(MOUNTINFO)) == kind


def test_the_root_of_a_sandbox_is_local() -> None:
    assert network_kind("/data", [("/", "9p")]) is None


def test_the_mount_table_of_macos_is_parsed() -> None:
    mounts = parse_mount(MOUNT)
    assert network_kind("/Volumes/pictures/x", mounts) == "smbfs"
    assert network_kind("/Users/me", mounts) is None


def test_a_temporary_folder_is_local(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path) is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs links without rights")
def test_a_link_is_resolved_to_the_folder_of_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share").mkdir()
    os.symlink(tmp_path / "share", tmp_path / "link")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "read_text", lambda *_: f"1 0 0:1 / {os.path.realpath(tmp_path)}/share rw - nfs x rw")
    assert network_filesystem(tmp_path / "link") == "nfs"
