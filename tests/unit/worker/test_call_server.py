"""The worker process: what needs no model is finished beside the next call."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, cast

import pytest

from indexd.errors import RenderFailed
from indexd.worker import protocol
from indexd.worker.calls import RunFunction, WorkerSettings
from indexd.worker.child import call_server
from indexd.worker.routing import CPU
from indexd.worker.session import Deferred

Serve = Callable[[int], Any]
WAIT_SECONDS = 30.0


class Theirs:
    """The worker's end of the pipe. At the end of a test it falls silent: a worker exits when its daemon is gone."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def send(self, message: protocol.FromChild) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def recv(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            threading.Event().wait()


class Child:
    """A `CallServer` in a thread, and the daemon's end of its pipe."""

    def __init__(self, connection: Any, server: call_server.CallServer) -> None:
        self._connection = connection
        self.thread = threading.Thread(target=server.run, daemon=True)
        self.thread.start()

    def ask(self, number: int) -> None:
        self._connection.send(protocol.RunCall(number, 1, RunFunction("m:f", CPU, {"number": number})))

    def stop(self) -> None:
        self._connection.send(protocol.StopWorker())

    def hear(self) -> protocol.FromChild:
        assert self._connection.poll(WAIT_SECONDS), "the worker is silent"
        message: protocol.FromChild = self._connection.recv()
        return message


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Serve], Child]]:
    ends: list[Any] = []

    def opened(serve: Serve) -> Child:
        ours, theirs = multiprocessing.Pipe()
        ends.extend((ours, theirs))
        monkeypatch.setattr(call_server, "serve", lambda call, _session: serve(call.arguments["number"]))
        return Child(ours, call_server.CallServer(cast("Connection", Theirs(theirs)), CPU, WorkerSettings({}, "")))

    yield opened
    for end in ends:
        end.close()


def test_the_next_call_begins_while_the_last_is_finished(child: Callable[[Serve], Child]) -> None:
    second_begun, finisher = threading.Event(), []

    def serve(number: int) -> Any:
        if number == 2:
            second_begun.set()
            return "two"

        def finish() -> str:
            finisher.append(threading.current_thread())
            assert second_begun.wait(WAIT_SECONDS)
            return "one"

        return Deferred(finish)

    server = child(serve)
    server.ask(1)
    server.ask(2)
    heard = [server.hear() for _ in range(4)]
    assert protocol.CallStarted(2) in heard
    assert heard.index(protocol.CallStarted(2)) < heard.index(protocol.CallFinished(1, "one"))
    assert protocol.CallFinished(2, "two") in heard
    assert finisher != [server.thread]


def test_a_worker_that_is_told_to_stop_finishes_first(child: Callable[[Serve], Child]) -> None:
    stop = threading.Event()

    def finish() -> str:
        assert stop.wait(WAIT_SECONDS)
        return "saved"

    server = child(lambda _number: Deferred(finish))
    server.ask(1)
    assert server.hear() == protocol.CallStarted(1)
    server.stop()
    stop.set()
    assert [server.hear(), server.hear()] == [protocol.CallFinished(1, "saved"), protocol.WorkerExiting()]
    server.thread.join(WAIT_SECONDS)
    assert not server.thread.is_alive()


def test_what_goes_wrong_at_the_end_is_reported(child: Callable[[Serve], Child]) -> None:
    def finish() -> None:
        raise RenderFailed("save failed: no codec")

    server = child(lambda _number: Deferred(finish))
    server.ask(1)
    assert server.hear() == protocol.CallStarted(1)
    failed = server.hear()
    assert isinstance(failed, protocol.CallFailed)
    assert str(failed.error) == "save failed: no codec"
