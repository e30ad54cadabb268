"""Every attack of the table in docs/api.md, tried against a door that really listens."""

from __future__ import annotations

import hmac
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexd.api.connect import daemon_address, find_daemon
from indexd.api.http import security
from indexd.api.http.security import LimitedHttpProtocol
from indexd.api.http.server import ApiServer
from indexd.api.http.token import read_user_token
from indexd.config import read_config
from indexd.errors import IndexdError, SettingsError
from indexd_schemas.api.output import DaemonStatus
from tests.api.conftest import OpenDoor, Opens
from tests.api.scripted import ScriptedOperations

posix = pytest.mark.skipif(os.name != "posix", reason="modes, owners and links of POSIX")
BOTH = pytest.mark.parametrize("listen", ["unix", "tcp"])


class Answer:
    """What came back until the door closed the connection or was silent."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}

    @property
    def text(self) -> str:
        return str(json.loads(self.body)["text"])


def visit(door: OpenDoor) -> socket.socket:
    address = daemon_address(door.config)
    assert address is not None
    connection = address.connect()
    connection.settimeout(10)
    return connection


def known(door: OpenDoor) -> dict[str, str]:
    """The headers of a good client."""
    address = daemon_address(door.config)
    assert address is not None
    return {"Host": address.host} | ({"Authorization": f"Bearer {address.token}"} if address.token else {})


def head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def heard(connection: socket.socket) -> Answer:
    raw = b""
    try:
        while part := connection.recv(65536):
            raw += part
    except ConnectionError:
        pass
    return Answer(raw)


def ask(door: OpenDoor, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    sent = {**headers, "Connection": "close"}
    if body:
        sent["Content-Length"] = str(len(body))
    with visit(door) as connection:
        connection.sendall(head(method, target, sent) + body)
        return heard(connection)


@BOTH
@pytest.mark.parametrize(
    "host",
    ["attacker.example", "attacker.example:{port}", "127.0.0.1.attacker.example", "localhost.", "indexd@evil", ""],
)
def test_dns_rebinding(open_door: Opens, listen: str, host: str) -> None:
    door = open_door(listen)
    port = known(door)["Host"].partition(":")[2]
    answer = ask(door, "GET", "/v1/status", known(door) | {"Host": host.format(port=port)})
    assert (answer.status, "Host" in answer.text) == (403, True)
    assert door.operations.asked == []


def test_a_second_host_and_a_target_with_a_host_help_nobody(open_door: Opens) -> None:
    door = open_door("tcp")
    good = known(door)
    with visit(door) as connection:
        connection.sendall(head("GET", "/v1/status", {"host": "evil.example", **good}))
        assert heard(connection).status == 400
    assert ask(door, "GET", "http://evil.example/v1/status", good).status == 404
    assert ask(door, "GET", "http://evil.example/v1/status", good | {"Host": "evil.example"}).status == 403
    assert door.operations.asked == []


@BOTH
def test_a_form_on_another_site(open_door: Opens, listen: str) -> None:
    door = open_door(listen)
    body = b'{"targets": ["id:1"], "rating": 5, "x": "="}'
    form = {"Host": known(door)["Host"], "Content-Type": "application/x-www-form-urlencoded"}
    browser = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(door, "POST", "/v1/rating", form | browser, body).status == 403
    assert ask(door, "POST", "/v1/rating", form | {"Sec-Fetch-Site": "same-site"}, body).status == 403
    assert ask(door, "POST", "/v1/rating", form | {"Origin": "null"}, body).status == 403
    # An old browser tells nothing of where the form came from.
    assert ask(door, "POST", "/v1/rating", form, body).status == (415 if listen == "unix" else 401)
    assert door.operations.asked == []


@BOTH
@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain; application/json", "multipart/form-data; boundary=x", "application/jsonp", ""]
)
def test_json_sent_as_something_that_a_page_may_send(open_door: Opens, listen: str, kind: str) -> None:
    door = open_door(listen)
    answer = ask(
        door, "POST", "/v1/rating", known(door) | {"Content-Type": kind}, b'{"targets": ["id:1"], "rating": 1}'
    )
    assert answer.status == 415
    assert door.operations.asked == []


def test_no_page_gets_leave_to_ask(open_door: Opens) -> None:
    door = open_door("tcp")
    preflight = known(door) | {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = ask(door, "OPTIONS", "/v1/rating", preflight)
    assert answer.status == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "bearer {token}", "Bearer {token}x", "Bearer {short}"])
def test_without_the_token_nothing_is_told_and_nothing_done(open_door: Opens, token: str) -> None:
    door = open_door("tcp")
    right = known(door)["Authorization"].removeprefix("Bearer ")
    given = {"Host": known(door)["Host"], "Authorization": token.format(token=right, short=right[:-1])}
    for method, target in (
        ("GET", "/v1/status"),
        ("GET", "/v1/images/1/file"),
        ("GET", "/v1/images/1/thumbnail"),
        ("GET", "/metrics"),
        ("POST", "/v1/rating"),
    ):
        answer = ask(door, method, target, given | {"Content-Type": "application/json"})
        assert answer.status == 401
        assert right not in answer.text
    assert door.operations.asked == []


def test_tokens_are_compared_whole_whatever_differs(open_door: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def recording(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(security, "hmac", SimpleNamespace(compare_digest=recording))
    door = open_door("tcp")
    right = known(door)["Authorization"].encode()
    assert ask(door, "GET", "/v1/status", known(door) | {"Authorization": "B"}).status == 401
    assert ask(door, "GET", "/v1/status", known(door)).status == 200
    assert compared == [(b"B", right), (right, right)]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/images/../../etc/passwd/file",
        "/v1/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd/file",
        "/v1/images/..%5c..%5cx/file",
        "/v1/images//etc/passwd/file",
        "/v1/images/-1/file",
        "/v1/images/1e3/file",
        "/v1/images/%EF%BC%91/file",
        "/v1/images/1%00/file",
        "/v1/images/99999999999999999999/file",
        "/v1/images/path%3A%2Fetc%2Fpasswd/thumbnail",
    ],
)
def test_pictures_go_by_number_alone(open_door: Opens, target: str) -> None:
    door = open_door("unix")
    assert ask(door, "GET", target, known(door)).status in (400, 404)
    assert door.operations.asked == []


def test_a_file_name_cannot_write_headers(open_door: Opens) -> None:
    door = open_door("unix")
    answer = ask(door, "GET", "/v1/images/7/file", known(door))
    assert answer.status == 200
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''%C3%A4%22%0D%0A.png"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(("method", "target"), [("DELETE", "/v1/status"), ("GET", "/v1/rating"), ("PUT", "/v1/tags")])
def test_a_wrong_method(open_door: Opens, method: str, target: str) -> None:
    door = open_door("unix")
    answer = ask(door, method, target, known(door) | {"Content-Type": "application/json"})
    assert (answer.status, method in answer.text, "allow" in answer.headers) == (405, True, True)
    assert door.operations.asked == []


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(open_door: Opens) -> None:
    door = open_door("unix")
    large = known(door) | {"Content-Type": "application/json", "Content-Length": str(security.BODY_LIMIT_BYTES + 1)}
    with visit(door) as connection:
        connection.sendall(head("POST", "/v1/query", large))
        answer = heard(connection)
    assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_body_in_pieces_without_end_is_cut_off(open_door: Opens) -> None:
    door = open_door("unix")
    chunked = known(door) | {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    with visit(door) as connection:
        connection.sendall(head("POST", "/v1/query", chunked))
        with pytest.raises(ConnectionError):
            while sent < 100 * security.BODY_LIMIT_BYTES:
                connection.sendall(piece)
                sent += len(piece)
    assert sent < 3 * security.BODY_LIMIT_BYTES
    assert door.operations.asked == []


def test_a_head_that_is_too_large(open_door: Opens) -> None:
    door = open_door("unix")
    with visit(door) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"GET /v1/status HTTP/1.1\r\n")
        for _ in range(1000):
            connection.sendall(b"X-Filler: " + b"a" * 1000 + b"\r\n")
    assert door.client.status().running


def test_a_body_that_trickles(open_door: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "indexd.api.http.server.RequestLimits", lambda rate: security.RequestLimits(rate, body_seconds=0.3)
    )
    door = open_door("unix")
    slow = known(door) | {"Content-Type": "application/json", "Content-Length": "1000"}
    with visit(door) as connection:
        connection.sendall(head("POST", "/v1/query", slow) + b'{"')
        began = time.monotonic()
        answer = heard(connection)
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert time.monotonic() - began < 5
    assert door.operations.asked == []


def test_a_head_that_trickles(open_door: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 0.4)
    door = open_door("unix")
    with visit(door) as connection:
        connection.settimeout(0.05)
        connection.sendall(b"GET /v1/status HTTP/1.1\r\nHost: indexd\r\n")
        raw, began = b"", time.monotonic()
        while not raw and time.monotonic() - began < 5:
            # A letter now and then buys no time.
            connection.sendall(b"X: y\r\n")
            try:
                raw = connection.recv(1000)
            except TimeoutError:
                continue
    assert raw.startswith(b"HTTP/1.1 408 ")
    assert door.operations.asked == []


def test_the_second_request_of_a_connection_has_its_time_as_well(
    open_door: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 0.3)
    door = open_door("unix")
    with visit(door) as connection:
        connection.sendall(head("GET", "/v1/status", known(door)))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /v1/sta")
        assert heard(connection).status == 408


def test_an_answer_that_takes_long_is_not_cut_off(open_door: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 0.1)
    door = open_door("unix")
    status = door.operations.status

    def slow() -> DaemonStatus:
        time.sleep(0.4)
        return status()

    monkeypatch.setattr(door.operations, "status", slow)
    assert ask(door, "GET", "/v1/status", known(door)).status == 200


def test_connections_that_say_nothing(open_door: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 1.0)
    monkeypatch.setattr(LimitedHttpProtocol, "max_connections", 5)
    door = open_door("unix")
    crowd = [visit(door) for _ in range(5)]
    try:
        with visit(door) as connection:
            assert heard(connection).status == 503
        began = time.monotonic()
        assert heard(crowd[0]).status == 408
        assert time.monotonic() - began < 5
        assert door.client.status().running
    finally:
        for connection in crowd:
            connection.close()


def test_a_flood_of_requests(open_door: Opens) -> None:
    door = open_door("unix", requests_per_second=5)
    for _ in range(30):
        # Strangers do not use up what the owner may ask.
        assert ask(door, "GET", "/health", {"Host": "evil.example"}).status == 403
    answers = [ask(door, "GET", "/health", known(door)) for _ in range(15)]
    statuses = [answer.status for answer in answers]
    assert statuses[:10] == [200] * 10
    assert 429 in statuses
    assert answers[statuses.index(429)].headers["retry-after"] == "1"


def test_health_is_answered_while_every_operation_hangs(open_door: Opens) -> None:
    door = open_door("unix")
    door.operations.hold = threading.Event()
    waiting = [visit(door) for _ in range(8)]
    try:
        for connection in waiting:
            connection.sendall(head("GET", "/v1/status", known(door)))
        assert ask(door, "GET", "/health", known(door)).status == 200
    finally:
        door.operations.hold.set()
        for connection in waiting:
            connection.close()


def test_not_ready_is_a_status_of_its_own(open_door: Opens) -> None:
    door = open_door("unix")
    answer = ask(door, "GET", "/ready", known(door))
    assert (answer.status, json.loads(answer.body)["reasons"]) == (503, ["comparing"])


# What the settings must say before other machines are let in


@pytest.mark.parametrize(
    ("api", "part"),
    [
        ({"listen": "tcp", "address": "0.0.0.0"}, "allow_remote = true"),
        ({"listen": "tcp", "address": "0.0.0.0", "allow_remote": True}, "token_file"),
        ({"listen": "tcp", "address": "192.0.2.1", "token_file": "/t"}, "allow_remote = true"),
        ({"address": "::", "allow_remote": True, "token_file": "/t"}, 'listen = "tcp"'),
        ({"listen": "tcp", "address": "localhost"}, "no IP address"),
    ],
)
def test_other_machines_need_a_token_and_a_flag(short_home: Path, api: dict[str, object], part: str) -> None:
    with pytest.raises(SettingsError, match=part) as caught:
        read_config(short_home, {"api": api})
    assert "\n" not in str(caught.value)


@posix
def test_with_both_the_door_is_open_to_them_and_answers_to_the_names_set(short_home: Path) -> None:
    token = short_home / "own-token"
    token.write_text("t" * 40 + "\n")
    token.chmod(0o600)
    settings = {"listen": "tcp", "address": "0.0.0.0", "allow_remote": True, "token_file": str(token)}
    config = read_config(short_home, {"api": {**settings, "hosts": ["studio.lan:8420"]}})
    server = ApiServer(config, ScriptedOperations())
    server.start()
    try:
        client = find_daemon(config)
        assert client is not None
        assert client.status().running
        door = OpenDoor(config, ScriptedOperations(), server, client)
        with_token = {"Authorization": f"Bearer {'t' * 40}"}
        assert ask(door, "GET", "/health", {"Host": "studio.lan:8420", **with_token}).status == 200
        assert ask(door, "GET", "/health", {"Host": "studio.lan", **with_token}).status == 403
    finally:
        server.stop()
    assert token.read_text() == "t" * 40 + "\n"


def test_the_door_of_ipv6(open_door: Opens) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    door = open_door("tcp", address="::1")
    assert door.client.status().running
    assert known(door)["Host"].startswith("[::1]:")


@posix
@pytest.mark.parametrize(
    ("content", "mode", "part"),
    [
        ("t" * 40, 0o644, "other users could read"),
        ("t" * 40, 0o620, "other users could read"),
        ("short", 0o600, "at least 32"),
        ("t" * 40 + "\nmore", 0o600, "one line"),
        ("ü" * 40, 0o600, "ASCII"),
    ],
)
def test_a_token_that_is_none_is_refused_with_a_sentence(tmp_path: Path, content: str, mode: int, part: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(IndexdError, match=part):
        read_user_token(file)


@posix
def test_a_token_file_is_no_link_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 40)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "token")
    with pytest.raises(IndexdError, match="a link"):
        read_user_token(tmp_path / "link")
    with pytest.raises(IndexdError, match="cannot be read"):
        read_user_token(tmp_path / "none")


@posix
def test_a_token_left_readable_is_replaced_at_the_start(short_home: Path, open_door: Opens) -> None:
    left = read_config(short_home).paths.token
    left.write_text('{"address": "127.0.0.1", "port": 1, "token": "old"}')
    left.chmod(0o666)
    door = open_door("tcp")
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert "old" not in known(door)["Authorization"]


@posix
def test_a_token_is_not_left_where_others_can_put_files(short_home: Path) -> None:
    (short_home / "shared").mkdir()
    (short_home / "shared").chmod(0o777)
    config = read_config(short_home / "shared", {"api": {"listen": "tcp"}})
    with pytest.raises(IndexdError, match="writable by others"):
        ApiServer(config, ScriptedOperations()).start()
