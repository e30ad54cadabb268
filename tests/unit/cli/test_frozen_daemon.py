"""A daemon that is stopped or overloaded accepts connections and answers nothing: every command ends with one sentence."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.api import client
from indexd.api.client import DaemonAddress, RemoteOperations
from indexd.api.http.server import ApiServer
from indexd.api.operations.library import scan
from indexd.api.operations.status import events
from indexd.cli.app import COMMANDS
from indexd.config import read_config
from indexd.errors import DaemonNotResponding, IndexdError
from indexd_schemas.api.requests import EventsRequest, ScanRequest
from tests.unit.api.scripted_operations import ScriptedOperations
from tests.unit.cli.conftest import Indexd
from tests.unit.cli.test_daemon_commands import RECIPE, picture

# No request reaches the daemon: these work on files, or on the index while no daemon runs.
LOCAL = {"backup", "check", "config", "demo", "doctor", "init", "loras", "restore", "run", "service"}
ARGUMENTS: dict[str, list[list[str]]] = {
    "characters": [
        *(["cluster"], ["confirm", "1", "2"], ["hide", "1"], ["list"], ["merge", "1", "2"], ["name", "1", "x"]),
        *(["new", "x", "2"], ["reject", "1", "2"], ["show", "1"], ["split", "1", "2"], ["suggest"]),
        *(["threshold", "1", "0.5"], ["undo"]),
    ],
    "control": [["IMAGE", "canny"]],
    "duplicates": [[]],
    "explain": [["IMAGE"]],
    "export": [["-o", "OUT"]],
    "forget": [["--yes"]],
    "import": [["ANNOTATIONS"]],
    "jobs": [["list"], ["show", "1"], ["cancel", "1"], ["retry", "1"], ["expand", "JOB"]],
    "metrics": [[]],
    "models": [["verify", "bge"]],
    "note": [["1", "x"]],
    "query": [[], ["--text", "a cat"]],
    "rate": [["1", "5"], ["--query", "has:prompt", "5", "--yes"]],
    "relocate": [["--from", "/a", "--to", "/b"]],
    "replay": [["IMAGE"]],
    "reparse": [[]],
    "sample": [[]],
    "scan": [[], ["--once"]],
    "show": [["1"]],
    "stats": [[]],
    "status": [[]],
    "submit": [["JOB"], ["JOB", "--wait"]],
    "tag": [["1", "+x"]],
}


@pytest.fixture
def frozen(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket in the place of the daemon's that accepts and never answers."""
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.02)
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.02)
    monkeypatch.setattr(client, "TRANSFER_SECONDS", 0.02)
    if sys.platform == "win32":
        pytest.skip("Windows has no Unix sockets")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = read_config(home).paths.socket
    path.parent.mkdir(parents=True, exist_ok=True)
    listener.bind(str(path))
    listener.listen(512)
    yield listener
    listener.close()


def test_every_command_is_tried_or_needs_no_daemon() -> None:
    assert ARGUMENTS.keys() | LOCAL == COMMANDS.keys()
    assert not ARGUMENTS.keys() & LOCAL


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(
    "command", [[name, *arguments] for name, variants in ARGUMENTS.items() for arguments in variants], ids=" ".join
)
def test_a_command_ends_with_one_sentence_when_the_daemon_is_frozen(
    command: list[str], indexd: Indexd, tmp_path: Path
) -> None:
    job, annotations = tmp_path / "job.yaml", tmp_path / "annotations.jsonl"
    job.write_text("kind: txt2img\nprompt: x\n", "utf-8")
    annotations.write_text('{"hash": "' + "00" * 32 + '", "rating": 5}\n', "utf-8")
    image = picture(tmp_path / "image.png", RECIPE, "red")
    files = {"JOB": job, "ANNOTATIONS": annotations, "IMAGE": image, "OUT": tmp_path / "out.jsonl"}
    ended = indexd(*(str(files.get(one, one)) for one in command))
    assert (ended.code, ended.out) == (1, "")
    assert "accepts connections but does not answer" in ended.err
    assert ended.err.count("\n") == 1
    # The kernel keeps the request: a daemon that goes on carries it out.
    assert "a change that this command asked for may still follow" in ended.err or command[0] not in ("submit", "rate")


@pytest.mark.usefixtures("frozen")
def test_doctor_reports_a_frozen_daemon_and_makes_its_other_checks(indexd: Indexd) -> None:
    checks = {check["name"]: check for check in indexd("doctor", "--json").json["checks"]}
    assert checks["daemon"]["state"] == "failed"
    assert "does not answer" in checks["daemon"]["detail"]
    assert "clock" in checks


def test_a_full_queue_of_connections_is_a_frozen_daemon(
    indexd: Indexd, frozen: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.02)
    frozen.listen(0)
    waiting = []
    for _ in range(3):
        one = socket.socket(frozen.family, socket.SOCK_STREAM)
        one.setblocking(False)
        try:
            one.connect(frozen.getsockname())
        except BlockingIOError:
            one.close()
            break
        waiting.append(one)
    ended = indexd("status")
    for one in waiting:
        one.close()
    assert ended.code == 1
    assert "does not answer" in ended.err


@pytest.mark.usefixtures("frozen")
def test_an_event_stream_of_a_frozen_daemon_ends_with_the_same_sentence(home: Path) -> None:
    remote = RemoteOperations(DaemonAddress(socket_path=str(read_config(home).paths.socket)))
    with pytest.raises(DaemonNotResponding):
        remote.call(events, EventsRequest())


class _SlowOperations(ScriptedOperations):
    """Takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def carry_out(self, operation, request):  # type: ignore[no-untyped-def]
        assert operation.name == "health" or self.go_on.wait(30)
        return super().carry_out(operation, request)


def test_a_slow_answer_of_a_daemon_that_responds_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.01)
    operations = _SlowOperations()
    server = ApiServer(read_config(home), operations)
    server.start()
    probes: list[float] = []
    remote = RemoteOperations(DaemonAddress(socket_path=str(read_config(home).paths.socket)))
    real = remote._require_answer

    def require_answer() -> None:
        real()
        probes.append(time.monotonic())
        if len(probes) == 3:
            operations.go_on.set()

    monkeypatch.setattr(remote, "_require_answer", require_answer)
    try:
        assert remote.call(scan, ScanRequest(wait=True)).waited
    finally:
        operations.go_on.set()
        server.stop()
    assert len(probes) >= 3


def test_an_operation_with_a_limit_ends_at_the_limit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    operations = _SlowOperations()
    server = ApiServer(read_config(home), operations)
    server.start()
    remote = RemoteOperations(DaemonAddress(socket_path=str(read_config(home).paths.socket)))
    try:
        with pytest.raises(IndexdError, match=r"within 0\.02 s"):
            remote.call(replace(scan, timeout_seconds=0.02), ScanRequest(wait=True))
    finally:
        operations.go_on.set()
        server.stop()
