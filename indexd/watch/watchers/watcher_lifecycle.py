"""The event side of one root over its life: opened, tested by a cookie, lost, opened again; and the mode that follows."""

from __future__ import annotations

import threading

from indexd.fs.mounts import Mount
from indexd.watch.roots import WatchedRoot, WatchMode
from indexd.watch.watchers.cookie import COOKIE_NAME, drop_cookie
from indexd.watch.watchers.watcher import Hint, Watcher, WatcherFactory, WatcherFailed

_COOKIE_SECONDS = 10.0
# A watcher that fails again and again is restarted after these pauses; one that held for a minute, at once.
_FIRST_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0
_STABLE_SECONDS = 60.0
# What fails for lasting reasons (a limit, a dead event source) is tried again this seldom.
_PERMANENT_FAILURE_RETRY_SECONDS = 900.0


class WatcherLifecycle:
    """Hints of one root, collected until they are taken. `wake` is notified when there are some.

    Lock order: a watcher's thread takes `wake` alone; `open` and `close` must be called without it.
    """

    def __init__(self, root: WatchedRoot, open_watcher: WatcherFactory, wake: threading.Condition) -> None:
        self._root = root
        self._open_watcher = open_watcher
        self._wake = wake
        self._watcher: Watcher | None = None
        self._hints: dict[bytes, Hint] = {}
        self._failure: WatcherFailed | None = None
        self._opened_at = float("-inf")
        self._backoff_seconds = _FIRST_BACKOFF_SECONDS
        self._cookie_due: float | None = None
        self.mount = Mount()
        self.retry_at: float | None = None
        self.mode: WatchMode = "poll"
        self.reason = "as the settings say"

    def open(self, now: float) -> bool:
        """Start a watcher where the settings want one; whether there is one now. A scan must follow."""
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
        """Stop the watcher, if there is one, and drop what it said."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        with self._wake:
            self._hints, self._failure = {}, None
        self._cookie_due = self.retry_at = None

    def send_cookie(self, now: float) -> None:
        """Write the cookie; it is expected back as an event."""
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
        """The hints since the last call, and the failure after which there come no more."""
        with self._wake:
            hints, self._hints = self._hints, {}
            failure, self._failure = self._failure, None
        if hints.pop(COOKIE_NAME, None) is not None:
            self._cookie_due = None
        if failure is None and self._cookie_due is not None and now >= self._cookie_due:
            self._cookie_due = None
            failure = WatcherFailed("no event came back for a file written as a test", permanent=True)
        return hints, failure

    def has_pending_events(self) -> bool:
        """Whether `take` would give something; call with `wake` held."""
        return bool(self._hints) or self._failure is not None

    def next_due(self) -> float | None:
        """When `take` or a new try is due without any hint."""
        return min((due for due in (self._cookie_due, self.retry_at) if due is not None), default=None)

    def recover(self, failure: WatcherFailed, now: float) -> bool:
        """After a failure: a new watcher at once, or polling for a while. Whether there is a watcher."""
        self.close()
        if failure.permanent or now - self._opened_at < _STABLE_SECONDS:
            self._fall_back_to_polling(failure, now)
            return False
        self._backoff_seconds = _FIRST_BACKOFF_SECONDS
        return self.open(now)

    def _fall_back_to_polling(self, failure: WatcherFailed, now: float) -> None:
        self.mode, self.reason = "poll", failure.reason
        if failure.permanent:
            self.retry_at = now + _PERMANENT_FAILURE_RETRY_SECONDS
        else:
            self.retry_at = now + self._backoff_seconds
            self._backoff_seconds = min(self._backoff_seconds * 2, _MAX_BACKOFF_SECONDS)

    def _on_hints(self, hints: dict[bytes, Hint]) -> None:
        with self._wake:
            self._hints.update(hints)
            self._wake.notify()

    def _on_failure(self, failure: WatcherFailed) -> None:
        with self._wake:
            self._failure = failure
            self._wake.notify()
