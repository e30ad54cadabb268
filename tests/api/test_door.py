"""The door over a real socket: what goes through, who is kept out, how it closes."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from indexd.api.client import DaemonAddress, _Connection
from indexd.api.connect import connect, daemon_address, find_daemon
from indexd.api.http.listen import ListeningSocket
from indexd.api.http.routes import TABLE
from indexd.api.http.security import BODY_LIMIT_BYTES
from indexd.api.http.server import ApiServer
from indexd.api.http.token import TcpEndpoint
from indexd.api.image_bytes import ImageBytes
from indexd.config import read_config
from indexd.errors import DaemonNotRunning, IndexdError, JobRefused, ModelUnavailable, NothingFound, UsageError
from indexd.search.query.image_target import ImageTarget
from indexd_schemas.api.annotations import (
    AnnotateMatchingRequest,
    AnnotationRecord,
    ExportRequest,
    ForgetRequest,
    ImportRequest,
    RelocateRequest,
)
from indexd_schemas.api.characters import (
    CharacterListRequest,
    CharacterRequest,
    ClusterRequest,
    CorrectionRequest,
    FaceReference,
    SampleRequest,
)
from indexd_schemas.api.library_reports import DuplicatesRequest, StatsRequest
from indexd_schemas.api.requests import ControlMapRequest, SearchRequest, SearchTerm
from tests.api.conftest import OpenDoor, Opens
from tests.api.scripted import ScriptedOperations

JSON = {"Content-Type": "application/json"}
posix = pytest.mark.skipif(os.name != "posix", reason="Unix sockets and modes")


def ask(
    door: OpenDoor, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, dict[str, object]]:
    """One raw request; `Host` and the token are as a good client sends them unless `headers` says otherwise."""
    address = daemon_address(door.config)
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


@pytest.mark.parametrize("listen", ["unix", "tcp"])
def test_every_operation_goes_through(open_door: Opens, listen: str) -> None:
    door = open_door(listen)
    client, asked = door.client, door.operations.asked
    question = SearchRequest(terms=(SearchTerm(kind="prompt", value="röd"),), filters=('lora:"my lora"',), limit=3)
    assert client.query(question).notes == ["bge is off, because …"]
    assert client.status().images == 2
    assert client.explain(b"/a/\xff b.png").state == "outside"
    assert client.scan(wait=True).waited
    assert client.submit("kind: txt2img # ä\n".encode(), "ä.yaml").job.id == 7
    assert client.jobs(["done", "failed"], 3).jobs[0].name == "x"
    assert client.job("a name/with ?signs").job.id == 7
    client.cancel_job("7")
    client.retry_job("7")
    assert client.rate([ImageTarget(image_id=1), ImageTarget(path=os.path.abspath("/p").encode())], 5).changed == 2
    assert client.tag([ImageTarget(content_hash=b"h" * 32)], ["a"], ["b"]).not_found == ["x"]
    assert client.duplicates(DuplicatesRequest(kinds=("similar",), threshold=0.9)).groups == []
    assert client.stats(StatsRequest(by=("month",), filters=("rating:4..",))).pictures == 0
    assert client.verify_model("bge").ok
    assert client.characters(CharacterListRequest(hidden=True)).unassigned == 1
    assert client.character(CharacterRequest(character="Lúna", limit=3)).character.name == "Luna"
    correction = CorrectionRequest(kind="reject", character="1", faces=(FaceReference(region=5),))
    assert client.correct(correction).number == 3
    assert client.corrections(7).corrections == []
    assert client.suggest().merges == []
    assert client.cluster(ClusterRequest(action="cancel")).state == "running"
    assert client.sample(SampleRequest(character="1", count=3)).among == 4
    assert client.note([ImageTarget(image_id=1)], "ä", True).changed == 1
    matching = AnnotateMatchingRequest(filters=("rating:4..",), add=("a/b",), at_most=3)
    assert client.mark_matching(matching).changed == 3
    assert client.export_page(ExportRequest(cursor="image:5")).next is None
    record = AnnotationRecord(hash="ab" * 32, rating=5, rated_at=1.5, tags=["a"], note="n")
    assert client.import_marks(ImportRequest(records=(record,), prefer_file=True)).records == 1
    assert client.relocate(RelocateRequest(old="/a%FF", new="/b")).notes == ["change it"]
    assert client.forget(ForgetRequest(under="/a", dry_run=True)).dry_run
    wanted = ControlMapRequest(picture="path:/a%FF.png", type="canny", width=64, height=8)
    assert client.control_map(wanted).cached
    assert client.reparse(5, 10, everything=True).last_id == 15
    assert client.ready().reasons == ["comparing"]
    assert client.metrics() == "indexd_images 2\n"
    assert client.picture(7, small=True) == ImageBytes(b"bytes", "image/png", 'ä"\r\n.png')
    assert [name for name, _ in asked] == [
        "query", "status", "explain", "scan", "submit", "jobs", "job", "cancel_job", "retry_job", "rate", "tag", "duplicates",
        "stats", "verify_model", "characters", "character", "correct", "corrections", "suggest", "cluster", "sample",
        "note", "mark_matching", "export_page", "import_marks", "relocate", "forget", "control_map", "reparse", "ready",
        "metrics", "picture",
    ]  # fmt: skip
    assert asked[0][1] == (question,)
    assert asked[16][1] == (correction,)
    assert asked[17][1] == (7,)
    assert asked[22][1] == (matching,)
    assert asked[24][1][0].records == (record,)
    assert asked[27][1] == (wanted,)
    assert asked[2][1] == (b"/a/\xff b.png",) or os.name == "nt"
    assert asked[4][1] == ("kind: txt2img # ä\n".encode(), "ä.yaml")
    assert asked[6][1] == ("a name/with ?signs",)


@pytest.mark.parametrize(
    "error", [UsageError("u"), NothingFound("n"), JobRefused("line 1\nline 2"), DaemonNotRunning("d"), IndexdError("i")]
)
def test_errors_keep_their_class_and_text(open_door: Opens, error: IndexdError) -> None:
    door = open_door()
    door.operations.error = error
    with pytest.raises(type(error)) as caught:
        door.client.status()
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert caught.value.exit_code == error.exit_code


def test_an_error_with_parts_arrives_as_its_sentence(open_door: Opens) -> None:
    door = open_door()
    door.operations.error = ModelUnavailable("bge", "no model is set")
    with pytest.raises(IndexdError, match="bge is off, because no model is set"):
        door.client.verify_model("bge")


def test_a_bug_is_named_as_one_and_the_door_stays_open(open_door: Opens) -> None:
    door = open_door()
    door.operations.error = ZeroDivisionError("secret")
    with pytest.raises(IndexdError, match="bug") as caught:
        door.client.status()
    assert "secret" not in str(caught.value)
    door.operations.error = None
    assert door.client.status().running


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
def test_strangers_are_kept_out(open_door: Opens, listen: str, headers: dict[str, str], status: int) -> None:
    door = open_door(listen)
    got, problem = ask(door, "POST", "/v1/rating", b'{"targets": ["id:1"], "rating": 5}', {**JSON, **headers})
    assert got == status
    assert problem["text"]
    assert door.operations.asked == []


def test_a_body_that_hides_its_size_is_cut_off(open_door: Opens) -> None:
    door = open_door()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    body = chunk * (BODY_LIMIT_BYTES // 0x10000 + 2) + b"0\r\n\r\n"
    try:
        got, _ = ask(door, "POST", "/v1/query", body, {**JSON, "Transfer-Encoding": "chunked"})
        assert got == 413
    except (ConnectionError, http.client.HTTPException):
        # Refused while we were still sending: the system may drop the answer with the connection.
        pass
    assert door.operations.asked == []
    assert door.client.status().running


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic eDp5", "Bearer ünicode"])
def test_loopback_asks_for_the_token_even_for_reading(open_door: Opens, token: str) -> None:
    door = open_door("tcp")
    got, _ = ask(door, "GET", "/v1/status", None, {"Authorization": token})
    assert got == 401
    assert door.operations.asked == []


@pytest.mark.parametrize(
    ("method", "path", "body", "part"),
    [
        ("POST", "/v1/query", b'{"terms": [{"kind": "smell", "value": "x"}]}', "terms.0.kind"),
        ("POST", "/v1/query", b'{"limit": 0}', "limit"),
        ("POST", "/v1/query", b'{"colour": 1}', "colour"),
        ("POST", "/v1/query", b"[" * 100_000, ""),
        ("POST", "/v1/query", b"\xff", ""),
        ("POST", "/v1/rating", b'{"targets": ["../../etc"], "rating": 5}', "names no picture"),
        ("POST", "/v1/rating", b'{"targets": ["id:1"], "rating": 6}', "rating"),
        ("GET", "/v1/explain?target=id:4", None, "path"),
        ("GET", "/v1/image", None, "target"),
        ("GET", "/v1/jobs?limit=x", None, "limit"),
    ],
)
def test_wrong_requests_get_a_sentence(open_door: Opens, method: str, path: str, body: bytes | None, part: str) -> None:
    door = open_door()
    got, problem = ask(door, method, path, body, JSON)
    assert got == 400
    assert problem["kind"] == "UsageError"
    assert part in str(problem["text"])
    assert door.operations.asked == []


def test_other_paths_and_methods_are_not_there(open_door: Opens) -> None:
    door = open_door()
    address = daemon_address(door.config)
    assert address is not None
    for method, path in (("GET", "/"), ("DELETE", "/v1/status"), ("GET", "/v1/../etc/passwd")):
        connection = _Connection(address, 20)
        connection.request(
            method, path, None, {**JSON, **({"Authorization": f"Bearer {address.token}"} if address.token else {})}
        )
        assert connection.getresponse().status in (404, 405)
        connection.close()


def test_the_table_has_no_path_twice() -> None:
    assert len({(method, path) for method, path, _ in TABLE}) == len(TABLE)


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
def test_only_this_user_can_read_the_token(open_door: Opens) -> None:
    door = open_door("tcp")
    assert stat.S_IMODE(os.stat(door.config.paths.token).st_mode) == 0o600
    door.server.stop()
    assert not door.config.paths.token.exists()


@posix
def test_a_folder_that_others_can_write_is_refused(short_home: Path) -> None:
    config = read_config(short_home / "shared")
    (short_home / "shared").mkdir()
    (short_home / "shared").chmod(0o777)
    with pytest.raises(IndexdError, match="writable by others"):
        ApiServer(config, ScriptedOperations()).start()


@posix
def test_the_socket_of_a_dead_daemon_is_replaced_and_a_foreign_file_is_not(short_home: Path) -> None:
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
def test_closing_leaves_the_socket_of_a_successor_alone(open_door: Opens) -> None:
    door = open_door("unix")
    path = door.config.paths.socket
    path.unlink()
    path.write_text("somebody else's")
    door.server.stop()
    assert path.read_text() == "somebody else's"


def test_closing_does_not_wait_for_an_operation_that_hangs(open_door: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexd.api.http.server.GRACE_SECONDS", 1)
    door = open_door()
    door.operations.hold = threading.Event()
    outcome: list[BaseException] = []

    def ask_and_fail() -> None:
        try:
            door.client.status()
        except IndexdError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask_and_fail)
    asking.start()
    while not door.operations.asked:
        pass
    door.server.stop()
    asking.join(20)
    door.operations.hold.set()
    assert type(outcome[0]) is DaemonNotRunning
    assert "the daemon is stopping" in str(outcome[0])


def test_several_visitors_at_once(open_door: Opens) -> None:
    door = open_door()
    answers: list[int] = []
    visitors = [threading.Thread(target=lambda: answers.append(door.client.status().images)) for _ in range(20)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert answers == [2] * 20
    assert "MainThread" not in door.operations.threads


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

    with pytest.raises(DaemonNotRunning, match="went away"):
        RemoteOperations(DaemonAddress(tcp_endpoint=TcpEndpoint("127.0.0.1", listener.getsockname()[1], "t"))).status()
    closing.join()
    listener.close()
    assert not config.paths.token.exists()


def test_a_visitor_waits_for_a_handle_and_the_log_is_not_flooded_meanwhile(
    open_door: Opens, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_door()
    real, refused = ListeningSocket._accept, []  # type: ignore[attr-defined]

    over = time.monotonic() + 0.3

    def accept(listener: ListeningSocket) -> object:
        if time.monotonic() < over:
            refused.append(1)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(listener)

    monkeypatch.setattr(ListeningSocket, "_accept", accept, raising=False)
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.05)
    assert opened.client.status().running
    assert 0 < len(refused) < 20
    assert sum("out of system resource" in record.getMessage() for record in caplog.records) == len(refused)
