"""Runs the daemon as a child process: for the demo, the end-to-end tests and the benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from indexd import config
from indexd.api.connect import connect
from indexd.api.operations.status import status as fetch_status
from indexd.errors import DaemonNotRunning, IndexdError
from indexd_schemas.api.output import DaemonStatus

START_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.1
MAX_REPORTED_LINES = 12


class DaemonProcess:
    """`indexd --home HOME run` as a child process; leaving the `with` block stops it."""

    def __init__(self, home: Path, environment: dict[str, str] | None = None, module: str = "indexd") -> None:
        """`module`: the module that `python -m` runs."""
        self.home = home
        self.log = home / "daemon.log"
        self._module = module
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    def __enter__(self) -> DaemonProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process.pid

    def launch(self) -> None:
        """Start the process and return at once."""
        # In its own session the daemon does not receive the terminal's Ctrl-C; only `stop` ends it.
        own_group: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
        with self.log.open("ab") as log:
            self._log_offset = log.tell()
            command = [sys.executable, "-m", self._module, "--home", str(self.home), "run"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment, **own_group)

    def start(self, seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start the process and wait until the daemon responds."""
        self.launch()
        self.wait_until("a response of the daemon", lambda _status: True, seconds)

    def status(self) -> DaemonStatus | None:
        """The daemon's status, or None while it does not respond."""
        try:
            return connect(config.read_config(self.home), need_daemon=True).call(fetch_status)
        except DaemonNotRunning:
            return None

    def wait_until(self, what: str, done: Callable[[DaemonStatus], bool], seconds: float) -> DaemonStatus:
        """Poll the status until `done` returns True. Raises IndexdError with the path of the log on a timeout."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.status()
            if status is not None and done(status):
                return status
            if self._process is not None and self._process.poll() is not None:
                raise IndexdError(f"the daemon ended with exit code {self._process.returncode}; see its log {self.log}")
            time.sleep(POLL_SECONDS)
        raise IndexdError(f"waited {seconds:g} s in vain for {what}; see the daemon's log {self.log}")

    def stop(self, seconds: float = 30.0) -> None:
        """Send SIGTERM to the daemon; kill it when it is still running after `seconds`."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait(self, seconds: float) -> int:
        """The exit code of a daemon that ends by itself. Raises subprocess.TimeoutExpired when it does not."""
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process.wait(seconds)

    def log_output(self) -> str:
        """The output so far of the process that was launched last."""
        with self.log.open("rb") as log:
            log.seek(self._log_offset)
            return log.read().decode("utf-8", "replace")

    def exit_report(self) -> str:
        """The exit code of a daemon that ended, and its last lines of output."""
        code = self._process.poll() if self._process is not None else None
        return f"exit code {code}: " + " | ".join(self.log_output().splitlines()[-MAX_REPORTED_LINES:])

    def kill(self) -> None:
        """Kill the daemon: no signal handler runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def is_settled(status: DaemonStatus) -> bool:
    """Whether the daemon is idle: no file to read, no unfinished job, no index task whose model is configured."""
    off = {role.role for role in status.roles if not role.on}
    jobs = sum(count for state, count in status.jobs.items() if state in ("queued", "running"))
    tasks = sum(
        count
        for stage, states in status.pending.items()
        for state, count in states.items()
        if state not in ("failed", "blocked") and not (stage.startswith("bge") and "bge" in off) and stage not in off
    )
    return (
        not jobs
        and not tasks
        and all(root.last_reconcile is not None and not root.pending for root in status.roots if root.online)
    )
