"""The HTTP server over a real socket: requests, refusals, stopping."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from indexd.api.client import DaemonAddress, _Connection
from indexd.api.connect import connect, daemon_address, find_daemon
from indexd.api.http.listen import ListeningSocket
from indexd.api.http.security import BODY_LIMIT_BYTES
from indexd.api.http.server import ApiServer
from indexd.api.http.token import TcpEndpoint
from indexd.api.operations.models import verify_model
from indexd.api.operations.registry import NO_PARAMETERS, all_operations
from indexd.api.operations.status import status
from indexd.config import read_config
from indexd.errors import DaemonNotRunning, IndexdError, JobRefused, ModelUnavailable, NothingFound, UsageError
from indexd_schemas.api.annotations import (
    AnnotateMatchingRequest,
    AnnotationRecord,
    ExportRequest,
    ForgetRequest,
    ImportRequest,
    NoteRequest,
    RelocateRequest,
)
from indexd_schemas.api.characters import (
    CharacterListRequest,
    CharacterRequest,
    ClusterRequest,
    CorrectionLogRequest,
    CorrectionRequest,
    FaceReference,
    SampleRequest,
)
from indexd_schemas.api.library_reports import DuplicatesRequest, StatsRequest
from indexd_schemas.api.requests import (
    ApiRequest,
    ControlMapRequest,
    ImageId,
    ImageSelector,
    JobListRequest,
    JobSelector,
    PreviewRequest,
    RateRequest,
    ReparseRequest,
    ScanRequest,
    SearchRequest,
    SearchTerm,
    SubmitRequest,
    TagRequest,
    VerifyModelRequest,
)
from tests.unit.api.conftest import RunningApi, StartApi
from tests.unit.api.scripted_operations import ScriptedOperations

JSON = {"Content-Type": "application/json"}
posix = pytest.mark.skipif(os.name != "posix", reason="Unix sockets and modes")


def ask(
    api: RunningApi, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, dict[str, object]]:
    """One raw request; `Host` and the token are as a good client sends them unless `headers` says otherwise."""
    address = daemon_address(api.config)
    assert address is not None
    given = {"Host": address.host, **({"Authorization": f"Bearer {address.token}"} if address.token else {}), **headers}
    connection = _Connection(address, 20)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            connection.putheader(name, value)
        if body is not None and "Transfer-Encoding" not in given and "Content-Length" not in given:
            connection.putheader("Content-Length", str(len(body)))
        # A refusal may come, and the door be closed, before the body was sent: the answer is there all the same.
        with contextlib.suppress(BrokenPipeError):
            connection.endheaders(body)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


REQUESTS: dict[str, ApiRequest] = {
    "health": NO_PARAMETERS,
    "ready": NO_PARAMETERS,
    "metrics": NO_PARAMETERS,
    "status": NO_PARAMETERS,
    "query": SearchRequest(terms=(SearchTerm(kind="prompt", value="röd"),), filters=('lora:"my lora"',), limit=3),
    "show": ImageSelector(target="id:1"),
    "explain": ImageSelector(target="path:/a/%FF b.png"),
    "thumbnail": ImageId(id=7),
    "original": ImageId(id=7),
    "scan": ScanRequest(wait=False),
    "submit": SubmitRequest(name="ä.yaml", source="kind: txt2img # ä\n"),
    "preview": PreviewRequest(name="ä.yaml", source="kind: txt2img # ä\n", sample=3),
    "list_jobs": JobListRequest(states=("done", "failed"), limit=3),
    "show_job": JobSelector(which="a name/with ?signs&"),
    "cancel_job": JobSelector(which="7"),
    "retry_job": JobSelector(which="7"),
    "rate": RateRequest(targets=("id:1", "path:/p"), rating=5),
    "tag": TagRequest(targets=("hash:" + "ab" * 32,), add=("a",), remove=("b",)),
    "note": NoteRequest(targets=("id:1",), text="ä", append=True),
    "annotate_matching": AnnotateMatchingRequest(filters=("rating:4..",), add=("a/b",), at_most=3),
    "export_annotations": ExportRequest(cursor="image:5"),
    "import_annotations": ImportRequest(
        records=(AnnotationRecord(hash="ab" * 32, rating=5, rated_at=1.5, tags=["a"], note="n"),), prefer_file=True
    ),
    "relocate": RelocateRequest(old="/a%FF", new="/b"),
    "forget": ForgetRequest(under="/a", dry_run=True),
    "duplicates": DuplicatesRequest(kinds=("similar",), threshold=0.9),
    "stats": StatsRequest(by=("month",), filters=("rating:4..",)),
    "list_characters": CharacterListRequest(hidden=True),
    "show_character": CharacterRequest(character="Lúna", limit=3),
    "correct": CorrectionRequest(kind="reject", character="1", faces=(FaceReference(region=5),)),
    "list_corrections": CorrectionLogRequest(limit=7),
    "suggest": NO_PARAMETERS,
    "cluster": ClusterRequest(action="cancel"),
    "sample": SampleRequest(character="1", count=3),
    "verify_model": VerifyModelRequest(role="ä b?"),
    "control_map": ControlMapRequest(image="path:/a%FF.png", type="canny", width=64, height=8),
    "reparse": ReparseRequest(after=5, limit=10, everything=True),
}


@pytest.mark.parametrize("listen", ["unix", "tcp"])
def test_every_operation_carries_its_request_and_response_unchanged(start_api: StartApi, listen: str) -> None:
    api = start_api(listen)
    operations = {operation.name: operation for operation in all_operations()}
    # Streams are tested in test_events.py.
    assert set(REQUESTS) == set(operations) - {"events"}
    for name, request in REQUESTS.items():
        scripted = api.operations.responses[name]
        try:
            response = api.client.call(operations[name], request)
        except IndexdError as error:
            response = error
        assert api.operations.calls[-1] == (name, request)
        assert response == scripted or str(response) == str(scripted)


@pytest.mark.parametrize(
    "error", [UsageError("u"), NothingFound("n"), JobRefused("line 1\nline 2"), DaemonNotRunning("d"), IndexdError("i")]
)
def test_errors_keep_their_class_and_text(start_api: StartApi, error: IndexdError) -> None:
    api = start_api()
    api.operations.error = error
    with pytest.raises(type(error)) as caught:
        api.client.call(status)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert caught.value.exit_code == error.exit_code


def test_an_error_with_parts_arrives_as_its_sentence(start_api: StartApi) -> None:
    api = start_api()
    api.operations.error = ModelUnavailable("bge", "no model is set")
    with pytest.raises(IndexdError, match="bge is off, because no model is set"):
        api.client.call(verify_model, VerifyModelRequest(role="bge"))


def test_a_bug_is_named_as_one_and_the_door_stays_open(start_api: StartApi) -> None:
    api = start_api()
    api.operations.error = ZeroDivisionError("secret")
    with pytest.raises(IndexdError, match="bug") as caught:
        api.client.call(status)
    assert "secret" not in str(caught.value)
    api.operations.error = None
    assert api.client.call(status).running


@pytest.mark.parametrize("listen", ["unix", "tcp"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Content-Length": str(BODY_LIMIT_BYTES + 1)}, 413),
    ],
)
def test_strangers_are_kept_out(start_api: StartApi, listen: str, headers: dict[str, str], status: int) -> None:
    api = start_api(listen)
    got, problem = ask(api, "POST", "/v1/rating", b'{"targets": ["id:1"], "rating": 5}', {**JSON, **headers})
    assert got == status
    assert problem["text"]
    assert api.operations.calls == []


def test_a_body_that_hides_its_size_is_cut_off(start_api: StartApi) -> None:
    api = start_api()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    body = chunk * (BODY_LIMIT_BYTES // 0x10000 + 2) + b"0\r\n\r\n"
    try:
        got, _ = ask(api, "POST", "/v1/query", body, {**JSON, "Transfer-Encoding": "chunked"})
        assert got == 413
    except (ConnectionError, http.client.HTTPException):
        # Refused while we were still sending: the system may drop the answer with the connection.
        pass
    assert api.operations.calls == []
    assert api.client.call(status).running


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic eDp5", "Bearer ünicode"])
def test_loopback_asks_for_the_token_even_for_reading(start_api: StartApi, token: str) -> None:
    api = start_api("tcp")
    got, _ = ask(api, "GET", "/v1/status", None, {"Authorization": token})
    assert got == 401
    assert api.operations.calls == []


@pytest.mark.parametrize(
    ("method", "path", "body", "part"),
    [
        ("POST", "/v1/query", b'{"terms": [{"kind": "smell", "value": "x"}]}', "terms.0.kind"),
        ("POST", "/v1/query", b'{"limit": 0}', "limit"),
        ("POST", "/v1/query", b'{"colour": 1}', "colour"),
        ("POST", "/v1/query", b"[" * 100_000, ""),
        ("POST", "/v1/query", b"\xff", ""),
        ("POST", "/v1/rating", b'{"targets": ["id:1"], "rating": 6}', "rating"),
        ("GET", "/v1/image", None, "target"),
        ("GET", "/v1/jobs?limit=x", None, "limit"),
    ],
)
def test_wrong_requests_get_a_sentence(
    start_api: StartApi, method: str, path: str, body: bytes | None, part: str
) -> None:
    api = start_api()
    got, problem = ask(api, method, path, body, JSON)
    assert got == 400
    assert problem["kind"] == "UsageError"
    assert part in str(problem["text"])
    assert api.operations.calls == []


def test_other_paths_and_methods_are_not_there(start_api: StartApi) -> None:
    api = start_api()
    address = daemon_address(api.config)
    assert address is not None
    for method, path in (("GET", "/"), ("DELETE", "/v1/status"), ("GET", "/v1/../etc/passwd")):
        connection = _Connection(address, 20)
        connection.request(
            method, path, None, {**JSON, **({"Authorization": f"Bearer {address.token}"} if address.token else {})}
        )
        assert connection.getresponse().status in (404, 405)
        connection.close()


@posix
def test_only_this_user_can_open_the_socket_whatever_the_umask(short_home: Path) -> None:
    config = read_config(short_home / "deep" / "home")
    before = os.umask(0)
    try:
        server = ApiServer(config, ScriptedOperations())
        server.start()
        try:
            assert stat.S_IMODE(os.stat(config.paths.socket).st_mode) == 0o600
            assert stat.S_IMODE(os.stat(config.paths.socket.parent).st_mode) == 0o700
        finally:
            server.stop()
    finally:
        os.umask(before)
    assert not config.paths.socket.exists()


@posix
def test_only_this_user_can_read_the_token(start_api: StartApi) -> None:
    api = start_api("tcp")
    assert stat.S_IMODE(os.stat(api.config.paths.token).st_mode) == 0o600
    api.server.stop()
    assert not api.config.paths.token.exists()


@posix
def test_a_folder_that_others_can_write_is_refused(short_home: Path) -> None:
    config = read_config(short_home / "shared")
    (short_home / "shared").mkdir()
    (short_home / "shared").chmod(0o777)
    with pytest.raises(IndexdError, match="writable by others"):
        ApiServer(config, ScriptedOperations()).start()


@posix
def test_the_socket_of_a_dead_daemon_is_replaced_and_a_foreign_file_is_not(short_home: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no Unix sockets")
    config = read_config(short_home)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(config.paths.socket))
    left.close()
    assert find_daemon(config) is None
    server = ApiServer(config, ScriptedOperations())
    server.start()
    server.stop()
    config.paths.socket.write_text("precious")
    with pytest.raises(IndexdError, match="is no socket"):
        ApiServer(config, ScriptedOperations()).start()
    assert config.paths.socket.read_text() == "precious"


@posix
def test_closing_leaves_the_socket_of_a_successor_alone(start_api: StartApi) -> None:
    api = start_api("unix")
    path = api.config.paths.socket
    path.unlink()
    path.write_text("somebody else's")
    api.server.stop()
    assert path.read_text() == "somebody else's"


def test_closing_does_not_wait_for_an_operation_that_hangs(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexd.api.http.server.GRACE_SECONDS", 1)
    api = start_api()
    api.operations.hold = threading.Event()
    outcome: list[BaseException] = []

    def ask_and_fail() -> None:
        try:
            api.client.call(status)
        except IndexdError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask_and_fail)
    asking.start()
    while not api.operations.calls:
        pass
    api.server.stop()
    asking.join(20)
    api.operations.hold.set()
    assert type(outcome[0]) is DaemonNotRunning
    assert "the daemon is stopping" in str(outcome[0])


def test_several_visitors_at_once(start_api: StartApi) -> None:
    api = start_api()
    answers: list[int] = []
    visitors = [threading.Thread(target=lambda: answers.append(api.client.call(status).images)) for _ in range(20)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert answers == [2] * 20
    assert "MainThread" not in api.operations.threads


def test_without_a_daemon(short_home: Path) -> None:
    config = read_config(short_home)
    assert find_daemon(config) is None
    with pytest.raises(DaemonNotRunning, match="indexd run"):
        connect(config, need_daemon=True)
    with pytest.raises(NothingFound, match="no index yet"):
        connect(config)


def test_a_daemon_that_dies_in_the_middle_is_named(short_home: Path) -> None:
    config = read_config(short_home, {"api": {"listen": "tcp"}})
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Thread(target=lambda: listener.accept()[0].close())
    closing.start()
    from indexd.api.client import RemoteOperations

    with pytest.raises(DaemonNotRunning, match="closed the connection"):
        RemoteOperations(DaemonAddress(tcp_endpoint=TcpEndpoint("127.0.0.1", listener.getsockname()[1], "t"))).call(
            status
        )
    closing.join()
    listener.close()
    assert not config.paths.token.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="asyncio accepts in another way on Windows")
def test_a_visitor_waits_for_a_handle_and_the_log_is_not_flooded_meanwhile(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = start_api()
    real, refused = ListeningSocket._accept, []  # type: ignore[attr-defined]

    over = time.monotonic() + 0.3

    def accept(listener: ListeningSocket) -> object:
        if time.monotonic() < over:
            refused.append(1)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(listener)

    monkeypatch.setattr(ListeningSocket, "_accept", accept, raising=False)
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.05)
    assert opened.client.call(status).running
    assert 0 < len(refused) < 20
    assert sum("out of system resource" in record.getMessage() for record in caplog.records) == len(refused)
