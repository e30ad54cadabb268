"""The watcher for systems without inotify: watchfiles, which speaks to Windows and macOS.

What it cannot do is why events are only hints: it names no writer that closed, loses events without a word, and ends
at a name that is not UTF-8.
"""

from __future__ import annotations

import os
import threading
from functools import partial

from watchfiles import Change as Noticed
from watchfiles._rust_notify import RustNotify

from indexd.background.background_service import start_thread
from indexd.fs.paths import relative
from indexd.watch.watchers.watcher import ChangeKind, FailureCallback, Hint, HintCallback, WatcherFailed

# The library looks for events once per step, and hands them over when a step brought none: 50-100 ms after an event.
_STEP_MS = 50
_DEBOUNCE_MS = 200
# At a time-out the library throws away what has come in the same moment; 0 = never.
_TIMEOUT_MS = 0
_CHANGES: dict[int, ChangeKind] = {Noticed.added: "appeared", Noticed.modified: "changed", Noticed.deleted: "gone"}


class WatchfilesWatcher:
    """Hints of one folder tree by way of watchfiles; ignored folders are reported too."""

    name = "watchfiles"

    def __init__(self, root: str) -> None:
        self._root = root
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, notify: HintCallback, failed: FailureCallback) -> None:
        """Take what is there as known, then report changes from a thread. Raises WatcherFailed."""
        try:
            # Positional: paths, debug, force polling, poll delay in ms, recursive, ignore what may not be read.
            rust = RustNotify([self._root], False, False, 1000, True, True)
        except Exception as error:
            lasting = "limit" in str(error) or isinstance(error, OSError)
            raise WatcherFailed(f"the watcher cannot start: {error}", permanent=lasting) from None
        try:
            self._thread = start_thread(partial(self._run, rust, notify, failed), "watchfiles")
        except OSError as error:
            rust.close()
            raise WatcherFailed(f"the watcher cannot start: {error}") from error

    def close(self) -> None:
        """End the thread and give the watches back."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None

    def _run(self, rust: RustNotify, notify: HintCallback, failed: FailureCallback) -> None:
        root = os.fsencode(self._root)
        try:
            while True:
                raw = rust.watch(_DEBOUNCE_MS, _STEP_MS, _TIMEOUT_MS, self._stop)
                if raw == "stop":
                    return
                if isinstance(raw, str):
                    continue
                hints = _to_hints(root, raw)
                if hints:
                    notify(hints)
        except Exception as error:
            if not self._stop.is_set():
                failed(WatcherFailed(f"the watcher failed: {error}"))
        finally:
            rust.close()


def _to_hints(root: bytes, raw: set[tuple[int, str]]) -> dict[bytes, Hint]:
    """One hint a path. The order within a batch is unknown, so "appeared" wins: whoever handles it looks first."""
    hints: dict[bytes, Hint] = {}
    for change, path in sorted(raw, reverse=True):
        rel = relative(root, os.fsencode(path))
        if rel:
            hints[rel] = Hint(rel, _CHANGES[change])
    return hints
