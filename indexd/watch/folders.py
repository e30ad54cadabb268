"""The folders that the settings ask to be watched: the user's, the output folder, and the inbox for job files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from indexd.config import Config
from indexd.watch.ignore import WatchFilter
from indexd.watch.paths import relative


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
            output, "images", "auto", WatchFilter(ignore=watch.ignore, nested_roots=_nested_below(output, paths))
        )
    )
    found.append(WatchedFolder(inbox, "jobs", "auto", WatchFilter(ignore=watch.ignore, purpose="jobs")))
    return list({folder.path: folder for folder in reversed(found)}.values())[::-1]


def _nested_below(path: bytes, paths: Sequence[bytes]) -> list[bytes]:
    """Those of the paths that lie below this one, relative to it."""
    return [rel for other in paths if (rel := relative(path, other))]
