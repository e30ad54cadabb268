"""Runs the command of `[notify]` when a job has ended, in a thread of its own, so that the queue never waits for it.

The command runs at most once for each end of a job. The ledger marks the job as not notified in the transaction that
ends it, and clears the mark *before* the command runs. So a job that ended just before a crash is notified after it, and
one whose command was started is never notified twice.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from indexd.background.background_service import BackgroundService
from indexd.background.backoff import Backoff
from indexd.errors import StoreError
from indexd.fs.paths import display
from indexd.fs.private_files import user_umask
from indexd.jobs.service import JobService
from indexd.store.protocols import JobRepository
from indexd.store.records import JobRow
from indexd_schemas.durations import parse_duration
from indexd_schemas.settings import NotifySettings

log = logging.getLogger(__name__)

STOP_SECONDS = 2.0
RETRY_SECONDS = 30.0
OUTPUT_TAIL_BYTES = 500
MAX_VALUE_CHARACTERS = 2000
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_SCRIPT_SUFFIXES = (".bat", ".cmd")


class Notifier(BackgroundService):
    """Runs the command for ended jobs between `start` and `stop`; without a command it does nothing."""

    def __init__(self, ledger: JobRepository, jobs: JobService, notify: NotifySettings) -> None:
        super().__init__("notify", retry=Backoff(RETRY_SECONDS))
        self._ledger = ledger
        self._command = notify.command
        self._time_limit_seconds = parse_duration(notify.time_limit) or 30.0
        self._process: subprocess.Popen[bytes] | None = None
        self._last_warning = ""
        jobs.finished.subscribe(self.wake)

    def start(self) -> None:
        """Notify of the jobs that ended while no daemon ran, then of those that end."""
        if self._command:
            super().start()
        else:
            self._ledger.clear_notifications()

    def stop(self, timeout_seconds: float | None = STOP_SECONDS) -> bool:
        """End; a command that runs gets the timeout. The next start notifies of what was not begun."""
        if super().stop(timeout_seconds) or not self.is_started:
            return True
        self._kill()
        return self.join()

    def run_once(self) -> float | None:
        """Notify of every job that ended."""
        for job in self._ledger.unnotified():
            if self.is_stopping:
                break
            self._notify(job)
        return None

    def is_retryable(self, error: Exception) -> bool:
        return isinstance(error, (StoreError, OSError))

    def on_retry(self, error: Exception, pause_seconds: float) -> None:  # noqa: ARG002
        self._warn_once(f"the command of [notify] cannot run now: {error}")

    def _notify(self, job: JobRow) -> None:
        """Raises StoreError or OSError where no command was started: then it is tried again later."""
        values = self._placeholders(job)
        with tempfile.TemporaryFile() as output:
            if not self._ledger.claim_notification(job.id):
                return
            problem = self._run_command(values, output)
        if problem is None:
            self._last_warning = ""
        elif not self.is_stopping:
            self._warn_once(f"the command of [notify] {problem}")

    def _warn_once(self, text: str) -> None:
        """Log a problem once, until it is gone or another comes."""
        if text != self._last_warning:
            log.warning("%s", text)
        self._last_warning = text

    def _placeholders(self, job: JobRow) -> dict[str, str]:
        items = self._ledger.items(job.id)
        return {
            "job": job.name,
            "id": str(job.id),
            "state": job.state,
            "images": str(job.item_counts.get("done", 0)),
            "folder": display(os.path.dirname(items[0].path)) if items else "",
            "reason": job.error or "",
        }

    def _run_command(self, values: Mapping[str, str], output: IO[bytes]) -> str | None:
        """Run the command with its output in a file. What went wrong, or None."""
        arguments = [self._command[0], *(fill_placeholders(part, values) for part in self._command[1:])]
        if os.name == "nt" and Path(arguments[0]).suffix.lower() in _SCRIPT_SUFFIXES:
            # Windows hands those to cmd.exe, which reads the arguments as commands (CVE-2024-24576 and its like).
            return "is a script of cmd.exe, which cannot be given the name of a job safely; name a program"
        environment = {**os.environ, **{_environment_name(name): _sanitize(text) for name, text in values.items()}}
        # A group of its own, so that what the command started ends with it.
        apart: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {"creationflags": 0x08000000}
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                umask=user_umask(),
                **apart,
            )
            code = self._process.wait(self._time_limit_seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            return f"took longer than {self._time_limit_seconds:g} s and was ended"
        except (OSError, ValueError) as error:
            return f"cannot be run: {error}"
        finally:
            self._process = None
        return None if code == 0 else f"ended with {code}{_output_tail(output)}"

    def _kill(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        try:
            if sys.platform != "win32":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        except OSError:
            return  # gone in this moment
        process.wait()


def fill_placeholders(part: str, values: Mapping[str, str]) -> str:
    """An argument with its placeholders filled in. One that a value would turn into an option gets a space before it."""
    text = _PLACEHOLDER.sub(lambda match: _sanitize(values[match[1]]), part)
    return f" {text}" if text.startswith("-") and not part.startswith("-") else text


def _environment_name(name: str) -> str:
    return "INDEXD_JOB_NAME" if name == "job" else f"INDEXD_JOB_{name.upper()}"


def _sanitize(text: str) -> str:
    return text.replace("\0", "")[:MAX_VALUE_CHARACTERS].encode("utf-8", "replace").decode()


def _output_tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_TAIL_BYTES))
    text = " ".join(output.read().decode("utf-8", "replace").split())
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return f": {shown}" if shown else ""
