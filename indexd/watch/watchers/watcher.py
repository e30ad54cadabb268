"""What a watcher of folders must offer: hints, and word of its own troubles."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

# "appeared": made or moved in, "renamed": moved into place under its name, "changed": written, closed or touched.
ChangeKind = Literal["appeared", "renamed", "changed", "gone"]


class Hint(NamedTuple):
    """Something may have changed at `rel`. `is_folder` None: the watcher does not know whether it is a folder."""

    rel: bytes
    change: ChangeKind
    is_folder: bool | None = None


class WatcherFailed(Exception):
    """The watcher cannot go on; the text says why. `permanent`: a new one would fail too, so the folder is polled."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


HintCallback = Callable[[dict[bytes, Hint]], None]
FailureCallback = Callable[[WatcherFailed], None]
FolderPredicate = Callable[[bytes], bool]


class Watcher(Protocol):
    """One root's stream of hints, from `start` until `close` or the first failure.

    From the moment `start` returns, nothing that happens under the root goes unnoticed, as far as the system tells.
    What was there before is never reported: whoever starts a watcher scans the root afterwards.
    """

    name: str

    def start(self, notify: HintCallback, failed: FailureCallback) -> None:
        """Begin. Both callables are called from the watcher's thread. Raises WatcherFailed."""
        ...

    def close(self) -> None:
        """End, and give back what the system lent. Harmless when repeated."""
        ...


WatcherFactory = Callable[[bytes, FolderPredicate], Watcher]


def open_watcher(root: bytes, enters: FolderPredicate) -> Watcher:
    """The best watcher of this system for a folder; `enters` says by `rel` which folders below it count."""
    if sys.platform == "linux":
        from indexd.watch.watchers.inotify_watcher import InotifyWatcher, is_available

        if is_available():
            return InotifyWatcher(root, enters)
    from indexd.watch.watchers.watchfiles_watcher import WatchfilesWatcher

    return WatchfilesWatcher(os.fsdecode(root))
