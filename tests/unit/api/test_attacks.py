"""Every attack of the threat model in docs/api.md, against a server that really listens."""

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
from indexd.api.operations.status import status
from indexd.config import read_config
from indexd.errors import IndexdError, SettingsError
from tests.unit.api.conftest import RunningApi, StartApi
from tests.unit.api.scripted_operations import ScriptedOperations

posix = pytest.mark.skipif(os.name != "posix", reason="modes, owners and links of POSIX")
BOTH = pytest.mark.parametrize("listen", ["unix", "tcp"])


class Answer:
    """What came back until the server closed the connection."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}

    @property
    def text(self) -> str:
        return str(json.loads(self.body)["text"])


def visit(api: RunningApi) -> socket.socket:
    address = daemon_address(api.config)
    assert address is not None
    connection = address.connect()
    connection.settimeout(10)
    return connection


def known(api: RunningApi) -> dict[str, str]:
    """The headers of a good client."""
    address = daemon_address(api.config)
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


def ask(api: RunningApi, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    sent = {**headers, "Connection": "close"}
    if body:
        sent["Content-Length"] = str(len(body))
    with visit(api) as connection:
        connection.sendall(head(method, target, sent) + body)
        return heard(connection)


@BOTH
@pytest.mark.parametrize(
    "host",
    ["attacker.example", "attacker.example:{port}", "127.0.0.1.attacker.example", "localhost.", "indexd@evil", ""],
)
def test_dns_rebinding(start_api: StartApi, listen: str, host: str) -> None:
    api = start_api(listen)
    port = known(api)["Host"].partition(":")[2]
    answer = ask(api, "GET", "/v1/status", known(api) | {"Host": host.format(port=port)})
    assert (answer.status, "Host" in answer.text) == (403, True)
    assert api.operations.calls == []


def test_a_second_host_and_a_target_with_a_host_help_nobody(start_api: StartApi) -> None:
    api = start_api("tcp")
    good = known(api)
    with visit(api) as connection:
        connection.sendall(head("GET", "/v1/status", {"host": "evil.example", **good}))
        assert heard(connection).status == 400
    assert ask(api, "GET", "http://evil.example/v1/status", good).status == 404
    assert ask(api, "GET", "http://evil.example/v1/status", good | {"Host": "evil.example"}).status == 403
    assert api.operations.calls == []


def test_a_head_that_is_too_large_and_arrives_whole(start_api: StartApi) -> None:
    api = start_api("unix")
    long = known(api) | {"X-Filler": "a" * (security.MAX_HEAD_BYTES + 1)}
    answer = ask(api, "GET", "/v1/status", long)
    assert (answer.status, answer.headers["connection"]) == (431, "close")


def test_a_length_beside_a_transfer_encoding(start_api: StartApi) -> None:
    api = start_api("unix")
    both = known(api) | {"Content-Type": "application/json", "Transfer-Encoding": "chunked", "Content-Length": "5"}
    with visit(api) as connection:
        connection.sendall(head("POST", "/v1/query", both) + b"2\r\n{}\r\n0\r\n\r\n")
        answer = heard(connection)
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert api.operations.calls == []


def test_health_needs_no_token_on_this_machine(start_api: StartApi) -> None:
    api = start_api("tcp")
    assert ask(api, "GET", "/health", {"Host": known(api)["Host"]}).status == 200
    assert ask(api, "GET", "/health", {"Host": "evil.example"}).status == 403


@pytest.mark.parametrize(("client", "refused"), [("127.0.0.1", False), ("::1", False), ("192.0.2.7", True)])
def test_loopback_access_is_for_clients_of_this_machine(client: str, refused: bool) -> None:
    policy = security.Loopback(otherwise=security.BearerToken("t" * 40))
    scope = {"type": "http", "headers": [], "client": (client, 1)}
    assert (policy.refusal(scope) is not None) == refused


def test_the_owner_of_a_unix_socket_is_not_limited(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "max_connections", 1)
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 0.01)
    api = start_api("unix", requests_per_second=1)
    with visit(api) as slow:
        slow.sendall(b"GET /v1/status HTTP/1.1\r\n")
        assert [ask(api, "GET", "/v1/status", known(api)).status for _ in range(20)] == [200] * 20
        slow.sendall(b"Host: indexd\r\nConnection: close\r\n\r\n")
        assert heard(slow).status == 200


@BOTH
def test_a_form_on_another_site(start_api: StartApi, listen: str) -> None:
    api = start_api(listen)
    body = b'{"targets": ["id:1"], "rating": 5, "x": "="}'
    form = {"Host": known(api)["Host"], "Content-Type": "application/x-www-form-urlencoded"}
    browser = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(api, "POST", "/v1/rating", form | browser, body).status == 403
    assert ask(api, "POST", "/v1/rating", form | {"Sec-Fetch-Site": "same-site"}, body).status == 403
    assert ask(api, "POST", "/v1/rating", form | {"Origin": "null"}, body).status == 403
    # An old browser tells nothing of where the form came from.
    assert ask(api, "POST", "/v1/rating", form, body).status == (415 if listen == "unix" else 401)
    assert api.operations.calls == []


@BOTH
@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain; application/json", "multipart/form-data; boundary=x", "application/jsonp", ""]
)
def test_json_sent_as_something_that_a_page_may_send(start_api: StartApi, listen: str, kind: str) -> None:
    api = start_api(listen)
    answer = ask(api, "POST", "/v1/rating", known(api) | {"Content-Type": kind}, b'{"targets": ["id:1"], "rating": 1}')
    assert answer.status == 415
    assert api.operations.calls == []


def test_no_page_gets_leave_to_ask(start_api: StartApi) -> None:
    api = start_api("tcp")
    preflight = known(api) | {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = ask(api, "OPTIONS", "/v1/rating", preflight)
    assert answer.status == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "bearer {token}", "Bearer {token}x", "Bearer {short}"])
def test_without_the_token_nothing_is_told_and_nothing_done(start_api: StartApi, token: str) -> None:
    api = start_api("tcp")
    right = known(api)["Authorization"].removeprefix("Bearer ")
    given = {"Host": known(api)["Host"], "Authorization": token.format(token=right, short=right[:-1])}
    for method, target in (
        ("GET", "/v1/status"),
        ("GET", "/v1/images/1/file"),
        ("GET", "/v1/images/1/thumbnail"),
        ("GET", "/metrics"),
        ("GET", "/v1/openapi.json"),
        ("GET", "/v1/nothing"),
        ("POST", "/v1/rating"),
    ):
        answer = ask(api, method, target, given | {"Content-Type": "application/json"})
        assert answer.status == 401
        assert right not in answer.text
    assert api.operations.calls == []


def test_tokens_are_compared_whole_whatever_differs(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def recording(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(security, "hmac", SimpleNamespace(compare_digest=recording))
    api = start_api("tcp")
    right = known(api)["Authorization"].encode()
    assert ask(api, "GET", "/v1/status", known(api) | {"Authorization": "B"}).status == 401
    assert ask(api, "GET", "/v1/status", known(api)).status == 200
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
def test_pictures_go_by_number_alone(start_api: StartApi, target: str) -> None:
    api = start_api("unix")
    assert ask(api, "GET", target, known(api)).status in (400, 404)
    assert api.operations.calls == []


def test_a_file_name_cannot_write_headers(start_api: StartApi) -> None:
    api = start_api("unix")
    answer = ask(api, "GET", "/v1/images/7/file", known(api))
    assert answer.status == 200
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''%C3%A4%22%0D%0A.png"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(("method", "target"), [("DELETE", "/v1/status"), ("GET", "/v1/rating"), ("PUT", "/v1/tags")])
def test_a_wrong_method(start_api: StartApi, method: str, target: str) -> None:
    api = start_api("unix")
    answer = ask(api, method, target, known(api) | {"Content-Type": "application/json"})
    assert (answer.status, method in answer.text, "allow" in answer.headers) == (405, True, True)
    assert api.operations.calls == []


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(start_api: StartApi) -> None:
    api = start_api("unix")
    large = known(api) | {"Content-Type": "application/json", "Content-Length": str(security.BODY_LIMIT_BYTES + 1)}
    with visit(api) as connection:
        connection.sendall(head("POST", "/v1/query", large))
        answer = heard(connection)
    assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_body_in_pieces_without_end_is_cut_off(start_api: StartApi) -> None:
    api = start_api("unix")
    chunked = known(api) | {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    with visit(api) as connection:
        connection.sendall(head("POST", "/v1/query", chunked))
        with pytest.raises(ConnectionError):
            while sent < 100 * security.BODY_LIMIT_BYTES:
                connection.sendall(piece)
                sent += len(piece)
    assert sent < 3 * security.BODY_LIMIT_BYTES
    assert api.operations.calls == []


def test_a_head_that_is_too_large(start_api: StartApi) -> None:
    api = start_api("unix")
    with visit(api) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"GET /v1/status HTTP/1.1\r\n")
        for _ in range(1000):
            connection.sendall(b"X-Filler: " + b"a" * 1000 + b"\r\n")
    assert api.client.call(status).running


def test_a_body_that_trickles(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "indexd.api.http.server.RequestLimits", lambda rate: security.RequestLimits(rate, body_seconds=0.3)
    )
    api = start_api("tcp")
    slow = known(api) | {"Content-Type": "application/json", "Content-Length": "1000"}
    with visit(api) as connection:
        connection.sendall(head("POST", "/v1/query", slow) + b'{"')
        began = time.monotonic()
        answer = heard(connection)
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert time.monotonic() - began < 5
    assert api.operations.calls == []


def test_a_head_that_trickles(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 0.4)
    api = start_api("tcp")
    with visit(api) as connection:
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
    assert api.operations.calls == []


def test_the_second_request_of_a_connection_has_its_time_as_well(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 0.3)
    api = start_api("tcp")
    with visit(api) as connection:
        connection.sendall(head("GET", "/v1/status", known(api)))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /v1/sta")
        assert heard(connection).status == 408


def test_an_answer_that_takes_long_is_not_cut_off(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 0.1)
    api = start_api("tcp")
    api.operations.hold = threading.Event()
    release = threading.Timer(0.4, api.operations.hold.set)
    release.start()
    assert ask(api, "GET", "/v1/status", known(api)).status == 200
    release.join()


def test_connections_that_say_nothing(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedHttpProtocol, "head_timeout_seconds", 1.0)
    monkeypatch.setattr(LimitedHttpProtocol, "max_connections", 5)
    api = start_api("tcp")
    crowd = [visit(api) for _ in range(5)]
    try:
        with visit(api) as connection:
            assert heard(connection).status == 503
        began = time.monotonic()
        assert heard(crowd[0]).status == 408
        assert time.monotonic() - began < 5
        assert api.client.call(status).running
    finally:
        for connection in crowd:
            connection.close()


def test_a_flood_of_requests(start_api: StartApi) -> None:
    api = start_api("tcp", requests_per_second=5)
    for _ in range(30):
        # Strangers do not use up what the owner may ask.
        assert ask(api, "GET", "/health", {"Host": "evil.example"}).status == 403
    answers = [ask(api, "GET", "/health", known(api)) for _ in range(15)]
    statuses = [answer.status for answer in answers]
    assert statuses[:10] == [200] * 10
    assert 429 in statuses
    assert answers[statuses.index(429)].headers["retry-after"] == "1"


def test_health_is_answered_while_every_operation_hangs(start_api: StartApi) -> None:
    api = start_api("unix")
    api.operations.hold = threading.Event()
    waiting = [visit(api) for _ in range(8)]
    try:
        for connection in waiting:
            connection.sendall(head("GET", "/v1/status", known(api)))
        assert ask(api, "GET", "/health", known(api)).status == 200
    finally:
        api.operations.hold.set()
        for connection in waiting:
            connection.close()


def test_not_ready_is_a_status_of_its_own(start_api: StartApi) -> None:
    api = start_api("unix")
    answer = ask(api, "GET", "/ready", known(api))
    assert (answer.status, json.loads(answer.body)["reasons"]) == (503, ["scanning"])


# What the settings must say before other machines are let in


@pytest.mark.parametrize(
    ("api", "part"),
    [
        ({"listen": "tcp", "address": "0.0.0.0"}, "allow_remote = true"),
        ({"listen": "tcp", "address": "0.0.0.0", "allow_remote": True}, "token_file"),
        ({"listen": "tcp", "address": "192.0.2.1", "token_file": "/t"}, "allow_remote = true"),
        ({"address": "::", "allow_remote": True, "token_file": "/t"}, 'listen = "tcp"'),
        ({"listen": "tcp", "address": "localhost"}, "not an IP address"),
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
        assert client.call(status).running
        api = RunningApi(config, ScriptedOperations(), server, client)
        with_token = {"Authorization": f"Bearer {'t' * 40}"}
        assert ask(api, "GET", "/health", {"Host": "studio.lan:8420", **with_token}).status == 200
        assert ask(api, "GET", "/health", {"Host": "studio.lan", **with_token}).status == 403
    finally:
        server.stop()
    assert token.read_text() == "t" * 40 + "\n"


def test_the_door_of_ipv6(start_api: StartApi) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    api = start_api("tcp", address="::1")
    assert api.client.call(status).running
    assert known(api)["Host"].startswith("[::1]:")


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
def test_a_token_left_readable_is_replaced_at_the_start(short_home: Path, start_api: StartApi) -> None:
    left = read_config(short_home).paths.token
    left.write_text('{"address": "127.0.0.1", "port": 1, "token": "old"}')
    left.chmod(0o666)
    api = start_api("tcp")
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert "old" not in known(api)["Authorization"]


@posix
def test_a_token_is_not_left_where_others_can_put_files(short_home: Path) -> None:
    (short_home / "shared").mkdir()
    (short_home / "shared").chmod(0o777)
    config = read_config(short_home / "shared", {"api": {"listen": "tcp"}})
    with pytest.raises(IndexdError, match="writable by others"):
        ApiServer(config, ScriptedOperations()).start()
