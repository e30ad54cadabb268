"""Checks the watched folders and the inotify limits of the system."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd.fs.mounts import find_mount
from indexd.watch.roots import watched_folders

INOTIFY_LIMITS = Path("/proc/sys/fs/inotify")
# Other programs of the same user (editors, desktop search) need watches too.
RESERVED_WATCHES = 8192
MIN_INSTANCES = 64
COUNT_TIMEOUT_SECONDS = 5.0


def check_watched_folders(config: Config) -> Iterator[DoctorFinding]:
    """Check that the watched folders exist and are readable, and that indexd can detect changes in them."""
    if not config.settings.roots:
        yield warning(
            "folders", "only the output folder is watched", f"add [[roots]] tables to {config.paths.settings_file}"
        )
    for root in config.settings.roots:
        path = Path(root.path)
        mount = find_mount(os.fsencode(path))
        if not path.is_dir():
            yield warning("folder", f"{path} does not exist", "mount it, or correct its [[roots]] path")
        elif not os.access(path, os.R_OK | os.X_OK):
            yield failed("folder", f"{path} cannot be read", "change its mode, or run indexd as its owner")
        elif mount.is_remote and root.mode == "native":
            text = f"{path} is on {mount.name}, which reports no events for changes of other machines"
            yield warning("folder", text, 'set mode = "auto" or "poll" for it')
        elif mount.is_remote:
            yield ok("folder", f"{path} (on {mount.name}: polled every {config.settings.watch.poll})")
        else:
            yield ok("folder", str(path))


def check_watch_limits(config: Config) -> Iterator[DoctorFinding]:
    """Check that the inotify limits suffice for all folders."""
    if not INOTIFY_LIMITS.exists():
        return
    watches = int((INOTIFY_LIMITS / "max_user_watches").read_text())
    instances = int((INOTIFY_LIMITS / "max_user_instances").read_text())
    count, is_complete = count_folders([folder.path for folder in watched_folders(config)])
    counted = f"{count} folders are" if is_complete else f"more than {count} folders are"
    if count + RESERVED_WATCHES > watches:
        limit = max(524_288, 2 * (count + RESERVED_WATCHES))
        advice = (
            f"sudo sysctl fs.inotify.max_user_watches={limit} (permanently: in /etc/sysctl.d); else folders are polled"
        )
        yield warning("watch limits", f"{counted} to be watched, and one user may watch {watches}", advice)
    elif instances < MIN_INSTANCES:
        advice = "sudo sysctl fs.inotify.max_user_instances=512"
        yield warning("watch limits", f"a user may open {instances} watchers, and a desktop needs many", advice)
    else:
        yield ok("watch limits", f"{counted} to be watched, one user may watch {watches}")


def count_folders(roots: list[bytes], seconds: float = COUNT_TIMEOUT_SECONDS) -> tuple[int, bool]:
    """The number of folders, and whether the count finished in time. Excludes mounts without events."""
    end, count = time.monotonic() + seconds, 0
    pending = [root for root in roots if os.path.isdir(root) and not find_mount(root).is_remote]
    while pending:
        if time.monotonic() > end:
            return count, False
        count += 1
        try:
            with os.scandir(pending.pop()) as entries:
                pending.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
    return count, True
