"""A scripted watcher, for tests of the code that uses the `Watcher` protocol."""

from __future__ import annotations

from indexd.watch.watchers.watcher import FailureCallback, FolderPredicate, Hint, HintCallback, WatcherFailed


class FakeWatcher:
    """Emits nothing by itself. `emit` and `fail` call back in the caller's thread."""

    name = "script"

    def __init__(self, refusal: WatcherFailed | None = None) -> None:
        self._refusal = refusal
        self._notify: HintCallback | None = None
        self._failed: FailureCallback | None = None
        self.closed = False

    def start(self, notify: HintCallback, failed: FailureCallback) -> None:
        """Begin, or raise the failure that was given."""
        if self._refusal is not None:
            raise self._refusal
        self._notify, self._failed = notify, failed

    def close(self) -> None:
        """Remember that it was closed; from then on it says nothing."""
        self.closed = True
        self._notify = self._failed = None

    def emit(self, *hints: Hint) -> None:
        """Report these hints as one batch."""
        if self._notify is not None:
            self._notify({hint.rel: hint for hint in hints})

    def fail(self, reason: str, *, permanent: bool = False) -> None:
        """Report a failure, after which nothing more comes."""
        if self._failed is not None:
            self._failed(WatcherFailed(reason, permanent=permanent))


class FakeWatcherFactory:
    """Opens scripted watchers and keeps them: `opened[-1]` is the one in use. `refusals` are raised first, in order."""

    def __init__(self, *refusals: WatcherFailed) -> None:
        self._refusals = list(refusals)
        self.opened: list[FakeWatcher] = []

    def __call__(self, root: bytes, enters: FolderPredicate) -> FakeWatcher:  # noqa: ARG002 - the shape of OpenWatcher
        watcher = FakeWatcher(self._refusals.pop(0) if self._refusals else None)
        self.opened.append(watcher)
        return watcher

    @property
    def current(self) -> FakeWatcher:
        """The watcher that was opened last."""
        return self.opened[-1]
