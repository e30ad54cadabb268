"""What all watched folders of one process share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from indexd.fs.file_stamp import SettledFile
from indexd.watch.indexed_files import IndexedFiles
from indexd.watch.roots import RootStatus, WatchOptions
from indexd.watch.watchers.watcher import WatcherFactory, open_watcher

EventCallback = Callable[[str, str, int | None], None]


def _ignore_status(_status: RootStatus) -> None:
    return


@dataclass(frozen=True)
class RootContext:
    """The index, the callbacks, the options and the clocks that every root uses.

    `deliver` is called from one thread per root and may block. After a restart it may get the same (path, stamp) again.
    `on_event(kind, text, root_id)` gets the kinds "offline", "online", "watcher" (it failed), "lost" (a scan found files
    that no event had reported) and "resume". `on_state` gets a root's status whenever its mode, reason, online or
    identity changes; the identity comes back in `WatchedRoot` at the next start.
    `clock` never goes back; `wall` gives seconds since the epoch.
    """

    indexed_files: IndexedFiles
    deliver: Callable[[SettledFile], None]
    on_event: EventCallback
    options: WatchOptions = field(default_factory=WatchOptions)
    on_state: Callable[[RootStatus], None] = _ignore_status
    open_watcher: WatcherFactory = open_watcher
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
