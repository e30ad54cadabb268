"""The watched folders: there, readable, on what kind of disk, and whether the system lets us watch so many."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from indexd.config import Config
from indexd.doctor.finding import Finding, failed, ok, warning
from indexd.watch.folders import watched_folders
from indexd.watch.mounts import mount_of

LIMITS = Path("/proc/sys/fs/inotify")
# Other programs of the same user (an editor, a desktop's indexer) want some as well.
SHARE_OF_OTHERS = 8192
INSTANCES_WANTED = 64
COUNT_SECONDS = 5.0


def look(config: Config) -> Iterator[Finding]:
    """Whether the watched folders are there and can be read, and how changes in them are noticed."""
    if not config.settings.roots:
        yield warning(
            "folders", "only the output folder is watched", f"add [[roots]] tables to {config.places.settings_file}"
        )
    for root in config.settings.roots:
        path = Path(root.path)
        mount = mount_of(os.fsencode(path))
        if not path.is_dir():
            yield warning("folder", f"{path} is not there", "mount it, or correct its [[roots]] path")
        elif not os.access(path, os.R_OK | os.X_OK):
            yield failed("folder", f"{path} cannot be read", "change its mode, or run indexd as its owner")
        elif mount.remote and root.mode == "native":
            text = f"{path} is on {mount.name}, where changes of other machines give no events"
            yield warning("folder", text, 'set mode = "auto" or "poll" for it')
        elif mount.remote:
            yield ok("folder", f"{path} (on {mount.name}: looked at every {config.settings.watch.poll})")
        else:
            yield ok("folder", str(path))


def look_at_limits(config: Config) -> Iterator[Finding]:
    """Whether Linux lets one user watch as many folders as there are."""
    if not LIMITS.exists():
        return
    watches = int((LIMITS / "max_user_watches").read_text())
    instances = int((LIMITS / "max_user_instances").read_text())
    count, whole = count_folders([folder.path for folder in watched_folders(config)])
    counted = f"{count} folders are" if whole else f"more than {count} folders are"
    if count + SHARE_OF_OTHERS > watches:
        wanted = max(524_288, 2 * (count + SHARE_OF_OTHERS))
        cure = f"sudo sysctl fs.inotify.max_user_watches={wanted} (for good: in /etc/sysctl.d); else folders are polled"
        yield warning("watch limits", f"{counted} to be watched, and one user may watch {watches}", cure)
    elif instances < INSTANCES_WANTED:
        cure = "sudo sysctl fs.inotify.max_user_instances=512"
        yield warning("watch limits", f"one user may open {instances} watchers, and a desktop takes many", cure)
    else:
        yield ok("watch limits", f"{counted} to be watched, one user may watch {watches}")


def count_folders(roots: list[bytes], seconds: float = COUNT_SECONDS) -> tuple[int, bool]:
    """How many folders there are, and whether there was time to count them all. Mounts without events are not counted."""
    end, count = time.monotonic() + seconds, 0
    waiting = [root for root in roots if os.path.isdir(root) and not mount_of(root).remote]
    while waiting:
        if time.monotonic() > end:
            return count, False
        count += 1
        try:
            with os.scandir(waiting.pop()) as entries:
                waiting.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
    return count, True
