"""The base of every long-lived thread: start, wake, stop, liveness, retries and failure reports."""

from __future__ import annotations

import errno
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from indexd.background.backoff import Backoff
from indexd.errors import is_transient
from indexd.liveness import Liveness

log = logging.getLogger(__name__)


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread. Raises OSError (EAGAIN) where the system starts no more threads."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, f"the thread {name} cannot start: {error}") from error
    return thread


class BackgroundService(ABC):
    """Calls `run_once` in a thread of its own from `start` to `stop`. A stopped service is not started again.

    `condition` guards the state that a subclass shares with its callers; `wake` and `request_stop` take its lock.
    """

    def __init__(
        self,
        name: str,
        *,
        on_failure: Callable[[BaseException], object] | None = None,
        retry: Backoff | None = None,
        liveness: Liveness | None = None,
        condition: threading.Condition | None = None,
    ) -> None:
        """`on_failure` is called in the thread with the bug that ended it.

        With `retry`, a retryable error of `run_once` does not end the thread: it pauses, and calls `run_once` again. Its
        pauses must be shorter than the limit of `liveness`. `liveness` defaults to one that owes a turn after each wake.
        """
        self.name = name
        self.condition = condition or threading.Condition()
        self.failure: BaseException | None = None
        self.liveness = liveness or Liveness(name, wake=self.wake)
        self._on_failure = on_failure
        self._retry = retry
        self._wake_requested = False
        self._stop_requested = False
        self._thread: threading.Thread | None = None

    @abstractmethod
    def run_once(self) -> float | None:
        """Do what can be done now. Returns the seconds until the next call; None = when `wake` is called."""

    def finish(self) -> None:
        """Called in the thread after the last `run_once`, also after a failure; `failure` is set then."""
        return

    def is_retryable(self, error: Exception) -> bool:
        """Whether `run_once` may be tried again after this error."""
        return is_transient(error)

    def on_retry(self, error: Exception, pause_seconds: float) -> None:
        """Called before the pause after a retryable error; logs it."""
        log.error("%s: %s; trying again in %g s", self.name, error, pause_seconds)

    def start(self) -> None:
        """Start the thread. Raises OSError (EAGAIN) where the system starts no more threads."""
        self._thread = start_thread(self.run, self.name)

    def wake(self) -> None:
        """Have `run_once` called soon, and once more if it is running now. From any thread, never waits for a turn."""
        with self.condition:
            self._wake_requested = True
            self.condition.notify_all()

    def request_stop(self) -> None:
        """Have the thread end after the turn it is in."""
        with self.condition:
            self._stop_requested = True
            self.condition.notify_all()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end of the thread; returns whether it has ended (a service never started has)."""
        if self._thread is None or self._thread is threading.current_thread():
            return self._thread is None
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def stop(self, timeout_seconds: float | None = None) -> bool:
        """Request the stop and wait for it; returns whether the thread has ended. Harmless when it never started."""
        self.request_stop()
        return self.join(timeout_seconds)

    @property
    def is_stopping(self) -> bool:
        """Whether the stop was requested, or the thread failed."""
        return self._stop_requested

    @property
    def is_started(self) -> bool:
        """Whether `start` has been called."""
        return self._thread is not None

    def run(self) -> None:
        """The body of the thread; call it directly to run in the caller's thread until `request_stop`."""
        self._guard(self._run_until_stopped)
        self._guard(self.finish)

    def _run_until_stopped(self) -> None:
        while not self._stop_requested:
            with self.condition:
                self._wake_requested = False
            self.liveness.beat()
            try:
                pause = self.run_once()
            except Exception as error:
                if not self._pause_for_retry(error):
                    raise
                continue
            if self._retry is not None:
                self._retry.reset()
            with self.condition:
                self.condition.wait_for(
                    lambda: self._wake_requested or self._stop_requested,
                    None if pause is None else min(pause, threading.TIMEOUT_MAX),
                )

    def _pause_for_retry(self, error: Exception) -> bool:
        """Whether the error is one to wait for; if so the pause is over when this returns, or the stop was requested."""
        if not self.is_retryable(error):
            return False
        if self._stop_requested:
            log.warning("%s: %s; the thread is stopping and does not try again", self.name, error)
            return True
        if self._retry is None:
            return False
        pause = self._retry.fail()
        self.on_retry(error, pause)
        with self.condition:
            self.condition.wait_for(lambda: self._stop_requested, pause)
        return True

    def _guard(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            log.exception("the thread %s failed", self.name)
            self.failure = self.failure or error
            self.request_stop()
            if self._on_failure is not None:
                self._on_failure(error)
