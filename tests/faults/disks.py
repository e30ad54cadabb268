"""Small disks of a test's own: a tmpfs that fills up, an ext4 whose power is cut. Both need root."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)

# EXT4_IOC_SHUTDOWN of fs/ext4/ext4.h: _IOR('X', 125, __u32); 2 = EXT4_GOING_FLAGS_NOLOGFLUSH, nothing more is written.
_UNMOUNT_SECONDS = 30.0
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2


def _run(*command: str) -> str:
    """Run a command; skip the test where this machine does not allow it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def need_root(*tools: str) -> None:
    """Skip the test where mounting is not allowed, or one of these programs is not installed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs Linux and root")
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def unmount(folder: Path) -> None:
    """Take a mount away, even one in use."""
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A disk in memory at `folder`."""
    need_root("mount")
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        unmount(folder)


def remount(folder: Path, options: str) -> None:
    """Change how it is mounted ("ro", "rw")."""
    _run("mount", "-o", f"remount,{options}", str(folder))


def fill_bytes(folder: Path) -> Path:
    """A file that takes all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0")
    return filler


def fill_inodes(folder: Path) -> Path:
    """A folder with so many files that no other can be made."""
    many = folder / "many"
    many.mkdir()
    for number in range(1_000_000):
        try:
            (many / str(number)).touch()
        except OSError as error:
            assert error.errno == errno.ENOSPC
            break
    return many


class Ext4:
    """A disk in a file, at `folder`, whose power can be cut."""

    def __init__(self, image: Path, folder: Path) -> None:
        need_root("mkfs.ext4", "losetup", "mount")
        self.image, self.folder = image, folder
        with image.open("wb") as file:
            file.truncate(256 << 20)
        _run("mkfs.ext4", "-q", "-F", str(image))
        folder.mkdir()
        self.mount()

    def mount(self) -> None:
        """Mount it; its journal is played back."""
        _run("mount", "-o", "loop,commit=300", str(self.image), str(self.folder))

    def cut_power(self) -> None:
        """From this moment nothing reaches the disk, not even what was written before and not synced."""
        import fcntl

        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("<I", _NO_LOG_FLUSH))
        except OSError as error:
            pytest.skip(f"this kernel cannot shut an ext4 down: {error}")
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Unmount it once the workers of a killed daemon are gone: they end a moment later, and keep the disk busy."""
        end = time.monotonic() + _UNMOUNT_SECONDS
        while os.path.ismount(self.folder) and time.monotonic() < end:
            if subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode:
                time.sleep(0.1)
        if os.path.ismount(self.folder):
            unmount(self.folder)
