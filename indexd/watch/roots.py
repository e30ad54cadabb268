"""A watched folder: what it is, what is there now, and how it is told that another folder took its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from indexd.config import Config
from indexd.fs.paths import relative
from indexd.watch.watch_filter import WatchFilter
from indexd_schemas.durations import parse_duration
from indexd_schemas.settings import WatchSettings

WatchMode = Literal["native", "poll"]


class ForeignRoot(NamedTuple):
    """A folder that was found not to be the indexed one: its identity, and how many files were known when it came."""

    identity: str
    known_files: int


@dataclass(frozen=True, slots=True)
class WatchedRoot:
    """One folder to watch. `identity` is the one under which its files are known, None for a new root."""

    id: int
    path: bytes
    purpose: str = "images"
    mode: Literal["auto", "native", "poll"] = "auto"
    watch_filter: WatchFilter = field(default_factory=WatchFilter)
    identity: str | None = None
    foreign_root: ForeignRoot | None = None


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Times in seconds; None = never."""

    settle_seconds: float = 0.5
    poll_seconds: float = 10.0
    sweep_seconds: float | None = 20.0
    reconcile_seconds: float | None = 3600.0

    @classmethod
    def from_settings(cls, watch: WatchSettings) -> WatchOptions:
        """The times of the settings. `poll` cannot be switched off: a folder without events would be dead."""
        return cls(
            settle_seconds=watch.settle_seconds,
            poll_seconds=max(parse_duration(watch.poll) or 10.0, 0.05),
            sweep_seconds=parse_duration(watch.sweep) or None,
            reconcile_seconds=parse_duration(watch.reconcile) or None,
        )


@dataclass(frozen=True, slots=True)
class RootStatus:
    """How a root stands. `last_reconcile` is seconds since the epoch; `pending` files wait to be settled.

    `lost_events` counts files that a scan found and an event should have told of. `scanning`: a comparison is under way.
    """

    root_id: int
    path: bytes
    purpose: str
    mode: WatchMode
    reason: str
    online: bool
    identity: str | None
    last_reconcile: float | None = None
    pending: int = 0
    lost_events: int = 0
    scanning: bool = False
    foreign_root: ForeignRoot | None = None


class RootProbe(NamedTuple):
    """What lies at a root's path now: its identity, or the problem for which it cannot be read."""

    identity: str | None
    problem: str = ""


def probe_root(path: bytes) -> RootProbe:
    """Look at the folder. A link to a folder is followed: it is the user who named it."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return RootProbe(None, "the folder does not exist")
    except OSError as error:
        return RootProbe(None, f"the folder cannot be read: {error.strerror or error}")
    if not stat.S_ISDIR(found.st_mode):
        return RootProbe(None, "the path is not a folder")
    if not os.access(path, os.R_OK | os.X_OK):
        return RootProbe(None, "the folder may not be read by this user")
    return RootProbe(f"{found.st_dev}:{found.st_ino}")


# The folders that the settings ask to be watched: the user's, the output folder, and the inbox for job files.


@dataclass(frozen=True, slots=True)
class WatchedFolder:
    """One folder by its absolute path, with what is looked for in it."""

    path: bytes
    purpose: Literal["images", "jobs"]
    mode: Literal["auto", "native", "poll"]
    watch_filter: WatchFilter
    folder_tags: bool = False


def watched_folders(config: Config) -> list[WatchedFolder]:
    """Every watched folder, whether it is there or not. A folder that is named twice counts once, as named first.

    What lies in several of them belongs to the innermost, whose own settings are meant for it.
    """
    watch = config.settings.watch
    output, inbox = os.fsencode(config.paths.output), os.fsencode(config.paths.inbox)
    paths = [*(os.fsencode(root.path) for root in config.settings.roots), output]
    found = [
        WatchedFolder(
            path,
            "images",
            root.mode,
            WatchFilter.from_settings(root, watch, _nested_below(path, paths)),
            root.folder_tags,
        )
        for path, root in zip(paths, config.settings.roots, strict=False)
    ]
    found.append(
        WatchedFolder(
            output,
            "images",
            "auto",
            WatchFilter(ignore=watch.ignore, nested_roots=_nested_below(output, paths), videos=watch.videos),
        )
    )
    found.append(WatchedFolder(inbox, "jobs", "auto", WatchFilter(ignore=watch.ignore, purpose="jobs")))
    return list({folder.path: folder for folder in reversed(found)}.values())[::-1]


def _nested_below(path: bytes, paths: Sequence[bytes]) -> list[bytes]:
    """Those of the paths that lie below this one, relative to it."""
    return [rel for other in paths if (rel := relative(path, other))]
