"""The life of the process: hold the lock, run the daemon, do what is asked from outside (stop, reload), end.

A reload reads the settings again. Nothing is half in force: what concerns the log alone is taken over at once; for all else
the rooms are drained and started anew in this same process. Settings that cannot be used leave the old ones in force.
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
from indexd.errors import IndexdError, SettingsError
from indexd.instance_lock import instance_lock
from indexd.service.sd_notify import sd_notify
from indexd.service.watchdog import Watchdog

log = logging.getLogger(__name__)

# How long a busy thread keeps the interpreter to itself. A question gives it up and wants it back some hundred times
# (for every row that SQLite brings), which beside a busy thread took 60 ms at Python's 5 ms, and 1 ms at this.
SWITCH_INTERVAL_SECONDS = 0.0005
EXIT_STUCK = 70


class ProcessControl:
    """What is asked of the running process. Every method may be called from any thread and from a signal handler.

    It waits on a socket and not on a lock: the kernel may hand a signal to any thread (it does after SIGSTOP), Python
    runs the handler in the main thread, and only a byte in a socket (`signal.set_wakeup_fd`) wakes that one up for it.
    """

    def __init__(self) -> None:
        with _as_indexd_error():
            self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._reload = False
        self.stopping = False

    def stop(self) -> None:
        """Drain and end."""
        self.stopping = True
        self.wake()

    def reload(self) -> None:
        """Read the settings again."""
        self._reload = True
        self.wake()

    def wake(self) -> None:
        """Something happened inside; look."""
        # Full: then it has been woken often enough.
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b"!")

    def wait(self) -> None:
        """Return when something was asked or has happened."""
        select.select([self._reader], [], [])
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def wake_on_signals(self) -> None:
        """Have every signal wake up whoever waits; from the main thread."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def take_reload_request(self) -> bool:
        """Whether a reload was asked for since the last look."""
        asked, self._reload = self._reload, False
        return asked


def install_signal_handlers(control: ProcessControl) -> None:
    """SIGTERM, SIGINT: the first drains, a second ends at once. SIGHUP reloads, or, when a terminal was closed, stops."""
    seen = 0
    of_a_terminal = sys.stderr is not None and sys.stderr.isatty()

    def on_stop(number: int, _frame: object) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            os._exit(128 + number)
        control.stop()

    def on_hangup(number: int, frame: object) -> None:
        if of_a_terminal:
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
    """Run the daemon until `control` says stop. Raises IndexdError, or what a side task died of.

    `reread` gives the settings as they are now (or raises SettingsError), `set_up_log` takes their part for the log over.
    `end_when_stuck`: where nobody feeds on a watchdog, a queue that stands still ends the process, to be started again.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    malloc.limit_arenas()
    before: Config | None = None
    while True:
        life = _DaemonRun(config, control, reload_config, set_up_log, end_when_stuck)
        try:
            following = life.run()
        except IndexdError as error:
            if life.started or before is None:
                raise
            log.error("the new settings cannot be used, the old ones are in force again: %s", error)
            config, before = before, None
            set_up_log(config)
            continue
        if following is None:
            return
        before, config = config, following
        set_up_log(config)


@contextlib.contextmanager
def _as_indexd_error() -> Iterator[None]:
    """What the machine refuses a daemon that begins is told as what it is, and not as a bug of ours."""
    try:
        yield
    except OSError as error:
        raise IndexdError(f"the daemon cannot begin: {error}; it can be started again when that is over") from error


class _DaemonRun:
    """From one start of the rooms to their stop."""

    def __init__(
        self,
        config: Config,
        control: ProcessControl,
        reread: Callable[[], Config],
        set_up_log: Callable[[Config], None],
        end_when_stuck: bool,
    ) -> None:
        self._config = config
        self._control = control
        self._reload_config = reread
        self._set_up_log = set_up_log
        self._on_stuck = self._exit_stuck if end_when_stuck else None
        self.started = False

    def run(self) -> Config | None:
        """The settings with which to begin anew, or None: it is over."""
        following: Config | None = None
        with instance_lock(self._config):
            with _as_indexd_error():
                daemon = Daemon(self._config, self._control.wake)
            heart = Watchdog(daemon.thread_liveness(), lambda: daemon.status_summary().format_line(), self._on_stuck)
            try:
                with _as_indexd_error():
                    daemon.start()
                self.started = True
                log.info("ready: %s", self._config.paths.index)
                sd_notify(READY="1", STATUS=f"watching; index {self._config.paths.index}")
                heart.start()
                following = self._wait_until_stopped(daemon)
            finally:
                heart.stop()
                if following is None:
                    log.info("stopping; once more stops at once")
                    sd_notify(STOPPING="1", STATUS="stopping: what is in hand is finished or handed back")
                daemon.stop()
        if daemon.failure is not None:
            raise daemon.failure
        return None if self._control.stopping else following

    def _wait_until_stopped(self, daemon: Daemon) -> Config | None:
        while not self._control.stopping and daemon.failure is None:
            if self._control.take_reload_request():
                following = self._reload(daemon)
                if following is not None:
                    return following
            self._control.wait()
        return None

    def _reload(self, daemon: Daemon) -> Config | None:
        """Take over what can be at once. The settings for which everything must be started anew, or None."""
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
            sd_notify(WATCHDOG="1", STATUS="starting anew with the changed settings")
            return new
        self._config = new
        self._set_up_log(new)
        sd_notify(READY="1")
        return None

    def _record_event(self, daemon: Daemon, kind: str, text: str) -> None:
        try:
            daemon.store.events.add(kind, text)
        except IndexdError as error:
            log.warning("that could not be noted in the index: %s", error)

    def _exit_stuck(self) -> None:
        log.critical("this process ends, so that the service manager starts it again")
        logging.shutdown()
        os._exit(EXIT_STUCK)
