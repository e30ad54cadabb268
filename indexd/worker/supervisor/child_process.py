"""One worker process of a lane: start it, send messages to it, kill it."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from functools import partial
from typing import TYPE_CHECKING

from indexd.background.background_service import start_thread
from indexd.worker.calls import WorkerSettings
from indexd.worker.child import call_server

if TYPE_CHECKING:
    from indexd.worker.protocol import ProcessPipe


class ChildProcess:
    """A new process that serves the calls of `lane`; it answers through `connection`.

    Sending has a thread of its own: a child that hangs does not read, and its time limit must still be kept.
    """

    def __init__(self, lane: str, settings: WorkerSettings) -> None:
        """Raises OSError: no descriptors, no memory, no processes, no threads."""
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        with theirs:
            self._process = spawn.Process(
                target=call_server.main, args=(theirs, lane, settings), name=f"indexd-{lane}", daemon=True
            )
            try:
                self._process.start()
            except BaseException:
                self.connection.close()
                raise
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            self._sender = start_thread(partial(_send_all, self.connection, self._outbox), f"lane-{lane}-send")
        except OSError:
            self._process.kill()
            self._process.join()
            self.connection.close()
            raise

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    def send(self, message: bytes) -> None:
        """Queue a message for the child; from any thread, never blocks."""
        self._outbox.put(message)

    def kill(self) -> None:
        """Kill the process; from any thread."""
        self._process.kill()

    def kill_and_wait(self) -> int | None:
        """Kill the process, wait for its end and close its pipe; returns its exit code."""
        self._process.kill()
        self._process.join()
        self._outbox.put(None)
        self._sender.join()
        self.connection.close()
        return self._process.exitcode


def _send_all(connection: ProcessPipe, outbox: queue.SimpleQueue[bytes | None]) -> None:
    """Send messages until None comes. A broken pipe means that the child is gone, which the receiving side notices too."""
    while (message := outbox.get()) is not None:
        try:
            connection.send_bytes(message)
        except OSError:
            return


# How a process ended, in words.


def describe_exit(exit_code: int | None) -> str:
    """The end of the sentence "the worker …" for an exit code as `multiprocessing` gives it (negative = signal)."""
    if exit_code is None:
        return "is gone"
    if exit_code >= 0:
        return f"ended by itself with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = " (killed from outside; often the system had run out of memory)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
