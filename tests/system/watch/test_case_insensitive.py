"""On a mounted file system that knows no letter case: nothing is overwritten, counted twice or lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.daemon import scan_once
from indexd.jobs.files.atomic import write_new
from indexd.store.sqlite.store import SqliteStore
from tests.system.loop.pictures import picture

if sys.platform != "linux":
    pytest.skip("a case-insensitive file system is mounted with Linux tools", allow_module_level=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An NTFS in a file, mounted by lowntfs-3g: the one such system that needs no module of the kernel."""
    tools = ("mkntfs", "lowntfs-3g", "umount")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"no {', '.join(missing)} here (Debian: ntfs-3g)")
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    place = tmp_path_factory.mktemp("case")
    image, mount = place / "image", place / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkntfs", "-q", "-F", str(image)], check=True, capture_output=True)
    done = subprocess.run(
        ["lowntfs-3g", "-o", "ignore_case", str(image), str(mount)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"it cannot be mounted here: {done.stderr.strip()}")
    (mount / "Probe").touch()
    assert (mount / "pROBE").exists()
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_file_whose_name_differs_in_case_alone_is_not_overwritten(folder: Path) -> None:
    (folder / "CASTLE.PNG").write_bytes(b"yours")
    with pytest.raises(FileExistsError):
        write_new(folder / ".indexd-0-1.part", folder / "castle.png", b"ours")
    assert (folder / "castle.png").read_bytes() == b"yours"
    assert not (folder / ".indexd-0-1.part").exists()


def test_a_picture_renamed_in_case_alone_is_one_picture_still(folder: Path, tmp_path: Path) -> None:
    watched = folder / "pictures"
    watched.mkdir()
    (watched / "sea.png").write_bytes(picture(1))
    config = read_config(tmp_path, {"roots": [{"path": str(watched)}], "watch": {"settle_seconds": 0.05}})

    def counts() -> tuple[int, int, int]:
        scan_once(config, models=False)
        with SqliteStore.open(config.paths.index, read_only=True) as store:
            return (store.images.count(), *store.files.counts())

    assert counts() == (1, 1, 0)
    (watched / "sea.png").rename(watched / "between.png")
    (watched / "between.png").rename(watched / "SEA.png")
    images, present, missing = counts()
    assert (images, present) == (1, 1)
    assert missing <= 1
    assert counts() == (images, present, missing)
