"""The life of the process: hold the lock, run the daemon, react to signals (stop, reload), end.

A reload reads the settings again. Changed log settings take effect at once; for any other change the daemon is stopped and
a new one started in this process, so that settings are never half in force. Unusable settings leave the old ones in force.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

from indexd import malloc
from indexd.config import Config
from indexd.daemon import Daemon
from indexd.errors import IndexdError, SettingsError, is_resource_shortage
from indexd.instance_lock import instance_lock
from indexd.service.sd_notify import sd_notify
from indexd.service.watchdog import Watchdog

log = logging.getLogger(__name__)

# How long a busy thread keeps the interpreter lock. A query releases and takes it some hundred times (for every row that
# SQLite returns), which beside a busy thread took 60 ms with Python's default of 5 ms, and 1 ms with this.
SWITCH_INTERVAL_SECONDS = 0.0005
EXIT_STUCK = 70


class ProcessControl:
    """The requests to the running process. Every method may be called from any thread and from a signal handler.

    It waits on a socket and not on a lock: the kernel may deliver a signal to any thread (it does after SIGSTOP), Python
    runs the handler in the main thread, and only a byte in a socket (`signal.set_wakeup_fd`) wakes the main thread.
    """

    def __init__(self) -> None:
        with _as_indexd_error():
            self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._reload = False
        self.stopping = False

    def stop(self) -> None:
        """Stop in good order."""
        self.stopping = True
        self.wake()

    def reload(self) -> None:
        """Read the settings again."""
        self._reload = True
        self.wake()

    def wake(self) -> None:
        """Have `wait` return."""
        # A full buffer wakes as well.
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b"!")

    def wait(self) -> None:
        """Return after a request or a call of `wake`."""
        select.select([self._reader], [], [])
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def wake_on_signals(self) -> None:
        """Have every signal end `wait`; call it in the main thread."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def take_reload_request(self) -> bool:
        """Whether a reload was requested since the last call."""
        requested, self._reload = self._reload, False
        return requested


def install_signal_handlers(control: ProcessControl) -> None:
    """SIGTERM, SIGINT: the first stops in good order, the second at once. SIGHUP reloads; on a closed terminal it stops."""
    seen = 0
    has_terminal = sys.stderr is not None and sys.stderr.isatty()

    def on_stop(number: int, _frame: object) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            os._exit(128 + number)
        control.stop()

    def on_hangup(number: int, frame: object) -> None:
        if has_terminal:
            on_stop(number, frame)
        else:
            control.reload()

    control.wake_on_signals()
    for name, handler in (("SIGTERM", on_stop), ("SIGINT", on_stop), ("SIGBREAK", on_stop), ("SIGHUP", on_hangup)):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handler)


def run_daemon(
    config: Config,
    control: ProcessControl,
    reload_config: Callable[[], Config],
    set_up_log: Callable[[Config], None],
    *,
    end_when_stuck: bool = False,
) -> None:
    """Run the daemon until `control` requests the stop. Raises IndexdError, or the error that ended a thread.

    `reload_config` reads the settings (or raises SettingsError), `set_up_log` applies their log section. `end_when_stuck`:
    without a watchdog of the service manager, a queue that stands still ends the process, which is then started again.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    malloc.limit_arenas()
    before: Config | None = None
    while True:
        daemon_run = _DaemonRun(config, control, reload_config, set_up_log, end_when_stuck)
        try:
            next_config = daemon_run.run()
        except IndexdError as error:
            if daemon_run.started or before is None:
                raise
            log.error("the new settings cannot be used, the old ones are in force again: %s", error)
            config, before = before, None
            set_up_log(config)
            continue
        if next_config is None:
            return
        before, config = config, next_config
        set_up_log(config)


@contextlib.contextmanager
def _as_indexd_error() -> Iterator[None]:
    """Reports what the system refuses at the start as an error, not as a bug."""
    try:
        yield
    except OSError as error:
        raise IndexdError(f"the daemon cannot start: {error}; start it again when that is over") from error


class _DaemonRun:
    """One daemon, from its start to its stop."""

    def __init__(
        self,
        config: Config,
        control: ProcessControl,
        reload_config: Callable[[], Config],
        set_up_log: Callable[[Config], None],
        end_when_stuck: bool,
    ) -> None:
        self._config = config
        self._control = control
        self._reload_config = reload_config
        self._set_up_log = set_up_log
        self._on_stuck = self._exit_stuck if end_when_stuck else None
        self.started = False

    def run(self) -> Config | None:
        """Run one daemon; returns the settings of the next one, or None when the process ends."""
        next_config: Config | None = None
        with instance_lock(self._config) as lock:
            daemon = Daemon(self._config, self._control.wake, lock)
            watchdog: Watchdog | None = None
            try:
                with _as_indexd_error():
                    daemon.start()
                self.started = True
                watchdog = Watchdog(
                    daemon.thread_liveness(), lambda: daemon.status_summary().format_line(), self._on_stuck
                )
                log.info("ready: %s", self._config.paths.index)
                sd_notify(READY="1", STATUS=f"watching; index {self._config.paths.index}")
                watchdog.start()
                next_config = self._wait_until_stopped(daemon)
            finally:
                if watchdog is not None:
                    watchdog.stop()
                if next_config is None:
                    log.info("stopping; a second signal stops at once")
                    sd_notify(STOPPING="1", STATUS="stopping: running work is finished or handed back")
                daemon.stop()
        if isinstance(daemon.failure, OSError) and is_resource_shortage(daemon.failure):
            raise IndexdError(
                f"the system gives the daemon no more: {daemon.failure.strerror}; start it again"
            ) from None
        if daemon.failure is not None:
            raise daemon.failure
        return None if self._control.stopping else next_config

    def _wait_until_stopped(self, daemon: Daemon) -> Config | None:
        while not self._control.stopping and daemon.failure is None:
            if daemon.must_restart:
                return self._config
            if self._control.take_reload_request():
                next_config = self._reload(daemon)
                if next_config is not None:
                    return next_config
            self._control.wait()
        return None

    def _reload(self, daemon: Daemon) -> Config | None:
        """Apply changed log settings at once; returns settings that need a restart of the daemon, or None."""
        sd_notify(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000), STATUS="reading the settings again")
        try:
            new = self._reload_config()
        except SettingsError as error:
            log.error("the settings cannot be used, the old ones stay in force: %s", error)
            self._record_event(daemon, "settings refused", str(error))
            sd_notify(READY="1")
            return None
        old = self._config.settings
        changed = [name for name in type(old).model_fields if getattr(old, name) != getattr(new.settings, name)]
        if not changed:
            log.info("the settings are read again; nothing has changed")
        else:
            log.info("the settings are read again; changed: %s", ", ".join(changed))
            self._record_event(daemon, "settings", f"read again; changed: {', '.join(changed)}")
        if not set(changed) <= {"log"}:
            sd_notify(WATCHDOG="1", STATUS="restarting with the changed settings")
            return new
        self._config = new
        self._set_up_log(new)
        sd_notify(READY="1")
        return None

    def _record_event(self, daemon: Daemon, kind: str, text: str) -> None:
        try:
            daemon.store.events.add(kind, text)
        except IndexdError as error:
            log.warning("the event could not be stored: %s", error)

    def _exit_stuck(self) -> None:
        log.critical("this process ends, so that the service manager starts it again")
        logging.shutdown()
        os._exit(EXIT_STUCK)
