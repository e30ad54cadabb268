"""Checks the folders of indexd: they exist, are writable, have free space, and the index is on a local disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd.fs.mounts import find_mount
from indexd.store.sqlite.network_fs import network_filesystem

MIN_FREE_BYTES = 1 << 30
MIN_FREE_INODES = 10_000


def check_data_folders(config: Config) -> Iterator[DoctorFinding]:
    """Check that the folders are writable and have free space, and the file system of the index."""
    paths = config.paths
    folders = {
        "home": paths.home,
        "inbox": paths.inbox,
        "output": paths.output,
        "thumbnails": paths.thumbnails,
        "backup folder": paths.backups,
    }
    for name, folder in folders.items():
        yield _check_folder(name, folder, has_run=paths.index.exists())
    yield _check_file_system(paths.index.parent)


def _check_folder(name: str, folder: Path, *, has_run: bool) -> DoctorFinding:
    existing = next(part for part in (folder, *folder.parents) if part.exists())
    if not existing.is_dir():
        return failed(name, f"{existing} is in the way of {folder}", f"move it, or change [paths] {name}")
    if not os.access(existing, os.W_OK | os.X_OK):
        return failed(name, f"{folder} cannot be written", "change its owner or mode, or the path in the settings")
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        return warning(
            name, f"only {free >> 20} MiB are free at {folder}", "free space; jobs pause when the disk is full"
        )
    if hasattr(os, "statvfs"):
        filesystem = os.statvfs(existing)
        # File systems with dynamic inodes report 0 of 0.
        if filesystem.f_files and filesystem.f_favail < MIN_FREE_INODES:
            text = f"only {filesystem.f_favail} more files fit on the disk of {folder}"
            return warning(name, text, "remove files, or move the folder to a disk with more inodes")
    if has_run and not folder.exists() and name in ("inbox", "output"):
        # Only inside an existing folder: otherwise its disk may be unmounted, and indexd would write to the mount point.
        fix = partial(_create_folder, folder) if folder.parent.is_dir() else None
        return warning(name, f"{folder} is gone", "mount its disk, or let `indexd doctor --fix` create it", fix)
    return ok(name, str(folder) if folder.exists() else f"{folder} (will be created)")


def _create_folder(folder: Path) -> str:
    folder.mkdir()
    return f"created {folder}"


def _check_file_system(folder: Path) -> DoctorFinding:
    existing = next(part for part in (folder, *folder.parents) if part.exists())
    network = network_filesystem(existing)
    if network is not None:
        text = f"the index would be on {network} ({folder}), where locks are unreliable"
        return failed("file system", text, "set [paths] index to a local disk")
    return ok(
        "file system", f"the index is on a local disk ({find_mount(os.fsencode(existing)).name or 'kind unknown'})"
    )
