"""The watcher of one root over its life: opened, tested with a cookie file, lost and opened again."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from typing import Literal

from indexd.background.backoff import Backoff
from indexd.fs.mounts import Mount
from indexd.fs.paths import absolute
from indexd.watch.roots import WatchedRoot, WatchMode
from indexd.watch.watchers.watcher import Hint, Watcher, WatcherFactory, WatcherFailed

# Hidden, so that no selection lets it in; always the same name, so that a crash leaves at most one behind, and the
# next cookie takes it away.
COOKIE_NAME = b".indexd-cookie"

_COOKIE_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

CookieResult = Literal["dropped", "read-only", "failed"]


def drop_cookie(root: bytes) -> CookieResult:
    """Make the cookie and remove it at once; either is an event. "read-only": the folder takes no files of ours."""
    path = absolute(root, COOKIE_NAME)
    try:
        os.close(os.open(path, _COOKIE_OPEN_FLAGS, 0o600))
    except OSError as error:
        return "read-only" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "failed"
    with contextlib.suppress(OSError):
        os.unlink(path)
    return "dropped"


_COOKIE_SECONDS = 10.0
# A watcher that fails again and again is restarted after these pauses; one that worked for a minute, at once.
_FIRST_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0
_STABLE_SECONDS = 60.0
# After a permanent failure (a system limit, a dead event source).
_PERMANENT_FAILURE_RETRY_SECONDS = 900.0


class WatcherLifecycle:
    """Collects the hints of one root until they are taken, and chooses between events and polling.

    `wake` is called from the watcher's thread when there are hints; all other methods are called by one thread.
    """

    def __init__(self, root: WatchedRoot, open_watcher: WatcherFactory, wake: Callable[[], None]) -> None:
        self._root = root
        self._open_watcher = open_watcher
        self._wake = wake
        self._lock = threading.Lock()
        self._watcher: Watcher | None = None
        self._hints: dict[bytes, Hint] = {}
        self._failure: WatcherFailed | None = None
        self._opened_at = float("-inf")
        self._backoff = Backoff(_FIRST_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS)
        self._cookie_due: float | None = None
        self.mount = Mount()
        self.retry_at: float | None = None
        self.mode: WatchMode = "poll"
        self.reason = "as the settings say"

    def open(self, now: float) -> bool:
        """Start a watcher where the settings ask for one; returns whether there is one now. A scan must follow."""
        self.close()
        if self._root.mode == "poll":
            return False
        watcher = self._open_watcher(self._root.path, self._root.watch_filter.enters)
        try:
            watcher.start(self._on_hints, self._on_failure)
        except WatcherFailed as failure:
            self._fall_back_to_polling(failure, now)
            return False
        self._watcher, self._opened_at = watcher, now
        self.mode, self.reason = "native", f"events by {watcher.name}"
        if self.mount.is_remote and self._root.mode == "auto":
            self.mode = "poll"
            self.reason = f"changes that others make on {self.mount.name} give no events"
        self.send_cookie(now)
        return True

    def close(self) -> None:
        """Stop the watcher, if there is one, and drop its hints."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        with self._lock:
            self._hints, self._failure = {}, None
        self._cookie_due = self.retry_at = None

    def send_cookie(self, now: float) -> None:
        """Write the cookie file; the watcher must report it."""
        if self._watcher is None:
            return
        dropped = drop_cookie(self._root.path)
        if dropped == "dropped":
            self._cookie_due = now + _COOKIE_SECONDS
            if self.mode == "native":
                self.reason = f"events by {self._watcher.name}"
        elif self.mode == "native":
            why = "read-only" if dropped == "read-only" else "not writable now"
            self.reason = f"events by {self._watcher.name}; untested, because the folder is {why}"

    def take_hints(self, now: float) -> tuple[dict[bytes, Hint], WatcherFailed | None]:
        """The hints since the last call, and the failure that ended the watcher, if any."""
        with self._lock:
            hints, self._hints = self._hints, {}
            failure, self._failure = self._failure, None
        if hints.pop(COOKIE_NAME, None) is not None:
            self._cookie_due = None
        if failure is None and self._cookie_due is not None and now >= self._cookie_due:
            self._cookie_due = None
            failure = WatcherFailed("no event came back for a file written as a test", permanent=True)
        return hints, failure

    def next_due(self) -> float | None:
        """When `take_hints` or a new try to open is due although no hint came."""
        return min((due for due in (self._cookie_due, self.retry_at) if due is not None), default=None)

    def recover(self, failure: WatcherFailed, now: float) -> bool:
        """After a failure: open a new watcher now, or poll for a while. Returns whether there is a watcher."""
        self.close()
        if failure.permanent or now - self._opened_at < _STABLE_SECONDS:
            self._fall_back_to_polling(failure, now)
            return False
        self._backoff.reset()
        return self.open(now)

    def _fall_back_to_polling(self, failure: WatcherFailed, now: float) -> None:
        self.mode, self.reason = "poll", failure.reason
        if failure.permanent:
            self.retry_at = now + _PERMANENT_FAILURE_RETRY_SECONDS
        else:
            self.retry_at = now + self._backoff.fail()

    def _on_hints(self, hints: dict[bytes, Hint]) -> None:
        with self._lock:
            self._hints.update(hints)
        self._wake()

    def _on_failure(self, failure: WatcherFailed) -> None:
        with self._lock:
            self._failure = failure
        self._wake()
