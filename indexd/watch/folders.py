"""The folders that the settings ask to be watched: the user's, the output folder, and the inbox for job files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from indexd.config import Config
from indexd.watch.ignore import Selection


@dataclass(frozen=True, slots=True)
class WatchedFolder:
    """One folder by its absolute path, with what is looked for in it."""

    path: bytes
    purpose: Literal["images", "jobs"]
    mode: Literal["auto", "native", "poll"]
    selection: Selection
    folder_tags: bool = False


def watched_folders(config: Config) -> list[WatchedFolder]:
    """Every watched folder, whether it is there or not. A folder that is named twice counts once, as named first."""
    watch = config.settings.watch
    found = [
        WatchedFolder(os.fsencode(root.path), "images", root.mode, Selection.of(root, watch), root.folder_tags)
        for root in config.settings.roots
    ]
    output, inbox = os.fsencode(config.places.output), os.fsencode(config.places.inbox)
    found.append(WatchedFolder(output, "images", "auto", Selection(ignore=watch.ignore)))
    found.append(WatchedFolder(inbox, "jobs", "auto", Selection(ignore=watch.ignore, purpose="jobs")))
    return list({folder.path: folder for folder in reversed(found)}.values())[::-1]
