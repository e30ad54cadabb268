"""Operations carried out by the daemon, over HTTP on its Unix socket, or on a TCP port with the token.

Uses the HTTP client of the standard library: the command line starts in a third of the time that httpx or requests need.
"""

from __future__ import annotations

import errno
import http.client
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any, cast
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from indexd import errors
from indexd.api.event_stream import EventStream, StreamedEvent, parse_events
from indexd.api.http.token import TcpEndpoint
from indexd.api.image_bytes import ImageBytes
from indexd.api.operations.registry import Operation, Operations, ResponseT
from indexd.errors import DaemonNotResponding, DaemonNotRunning, IndexdError
from indexd_schemas.api.requests import ApiRequest
from indexd_schemas.api.responses import ErrorResponse

CONNECT_SECONDS = 5.0

CONNECT_RETRY_SECONDS = 0.05
HEALTH_PATH = "/health"

SILENCE_SECONDS = 10.0
"""After so long without a byte of the response, the client asks on a second connection whether the daemon still answers."""

PROBE_SECONDS = 5.0
"""How long that second answer may take. The daemon gives it without the index, in milliseconds."""

TRANSFER_SECONDS = 30.0
"""How long sending a request, or a pause within a response, may take."""

NOT_RESPONDING = (
    "the daemon accepts connections but does not answer: its process is stopped or overloaded; look at its log, and"
    " restart it when this stays (`indexd service stop`, `indexd service start`)"
)
CHANGE_MAY_FOLLOW = "a change that this command asked for may still follow, so look before you repeat it"


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """Where the daemon listens: a Unix socket, or a TCP port with its token. Exactly one is set."""

    socket_path: str | None = None
    tcp_endpoint: TcpEndpoint | None = None

    @property
    def host(self) -> str:
        """The Host header that the server accepts."""
        if self.tcp_endpoint is None:
            return "indexd"
        from indexd.api.http.listen import host_header

        return host_header(self.tcp_endpoint.address, self.tcp_endpoint.port)

    @property
    def token(self) -> str | None:
        """The bearer token; None on a Unix socket."""
        return self.tcp_endpoint.token if self.tcp_endpoint is not None else None

    def connect(self) -> socket.socket:
        """A connected socket. Raises OSError when nobody listens."""
        if self.tcp_endpoint is not None:
            return socket.create_connection((self.tcp_endpoint.address, self.tcp_endpoint.port), CONNECT_SECONDS)
        if self.socket_path is None or sys.platform == "win32":
            raise OSError("this system has no Unix sockets")
        give_up_at = time.monotonic() + CONNECT_SECONDS
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect(self.socket_path)
            except BlockingIOError:
                # The queue of connections that the daemon has not accepted yet is full.
                connection.close()
                if time.monotonic() >= give_up_at:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
                time.sleep(CONNECT_RETRY_SECONDS)
            except OSError:
                connection.close()
                raise
            else:
                return connection


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: DaemonAddress, timeout: float | None) -> None:
        super().__init__(address.host, timeout=timeout)
        self._address = address

    def connect(self) -> None:
        self.sock = self._address.connect()
        self.sock.settimeout(self.timeout)


class RemoteOperations(Operations):
    """The operations of the daemon at `address`. Raises the daemon's error as the same class, or DaemonNotRunning."""

    def __init__(self, address: DaemonAddress) -> None:
        self._address = address

    def carry_out(self, operation: Operation[Any, ResponseT], request: ApiRequest) -> ResponseT:
        """See Operations."""
        target, body = operation.encode(request)
        if operation.response_type is EventStream:
            return cast("ResponseT", self._open_stream(target, operation.timeout_seconds))
        try:
            status, headers, content = self._exchange(operation.method, target, body, operation.timeout_seconds)
        except DaemonNotResponding as unanswered:
            if operation.method == "GET":
                raise
            raise DaemonNotResponding(f"{unanswered}; {CHANGE_MAY_FOLLOW}") from None
        if status != 200:
            error = _parse_error(status, content)
            if error is not None:
                raise error
        return cast("ResponseT", _parse_response(operation.response_type, headers, content))

    def close(self) -> None:
        """Every request has its own connection; nothing stays open."""

    def _open_stream(self, target: str, timeout: float | None) -> RemoteEventStream:
        connection = _Connection(self._address, timeout)
        try:
            connection.request("GET", target, None, self._headers())
            self._wait_for_response(connection, timeout)
            response = connection.getresponse()
            error = None if response.status == 200 else _parse_error(response.status, response.read())
        except IndexdError as failure:
            error = failure
        except (OSError, http.client.HTTPException) as failure:
            error = DaemonNotRunning(f"the daemon closed the connection before it answered ({_reason(failure)})")
        if error is not None:
            connection.close()
            raise error
        return RemoteEventStream(connection, response)

    def _headers(self) -> dict[str, str]:
        token = self._address.token
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def _exchange(
        self, method: str, target: str, body: bytes | None, timeout: float | None
    ) -> tuple[int, Message, bytes]:
        connection = _Connection(self._address, TRANSFER_SECONDS)
        try:
            connection.request(method, target, body, self._headers())
            self._wait_for_response(connection, timeout)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except TimeoutError:
            raise DaemonNotResponding(NOT_RESPONDING) from None
        except (OSError, http.client.HTTPException) as error:
            raise DaemonNotRunning(f"the daemon closed the connection before it answered ({_reason(error)})") from None
        finally:
            connection.close()

    def _wait_for_response(self, connection: _Connection, timeout: float | None) -> None:
        """Wait for the first byte, at most `timeout` seconds, and only while the daemon answers other requests."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(connection.sock, selectors.EVENT_READ)
            while True:
                left = SILENCE_SECONDS if give_up_at is None else give_up_at - time.monotonic()
                if selector.select(max(0.0, min(SILENCE_SECONDS, left))):
                    return
                if left <= SILENCE_SECONDS and give_up_at is not None:
                    raise IndexdError(
                        f"the daemon did not answer within {timeout:g} s; `indexd status` shows what it is doing"
                    )
                self._require_answer()

    def _require_answer(self) -> None:
        """Raise DaemonNotResponding unless the daemon answers a request for which it needs no index."""
        connection = _Connection(self._address, PROBE_SECONDS)
        try:
            connection.request("GET", HEALTH_PATH, None, self._headers())
            connection.getresponse().read()
        except TimeoutError:
            raise DaemonNotResponding(NOT_RESPONDING) from None
        except (OSError, http.client.HTTPException):
            pass  # The first connection breaks too, and says how.
        finally:
            connection.close()


class RemoteEventStream(EventStream):
    """The events of the daemon. Iteration raises DaemonNotRunning when the connection breaks."""

    def __init__(self, connection: _Connection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response

    def __iter__(self) -> Iterator[StreamedEvent]:
        try:
            yield from parse_events(self._response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DaemonNotRunning(f"the event stream broke off ({_reason(error)})") from None

    def close(self) -> None:
        """See EventStream."""
        self._connection.close()


def _parse_response(expected: Any, headers: Message, content: bytes) -> BaseModel | ImageBytes | str:
    if expected is str:
        return content.decode()
    if expected is ImageBytes:
        # RFC 5987: filename*=UTF-8''percent-encoded
        name = unquote((headers["content-disposition"] or "").partition("''")[2])
        return ImageBytes(content, headers.get_content_type(), name)
    try:
        document: BaseModel = expected.model_validate_json(content)
    except ValidationError:
        raise IndexdError("the daemon runs another version than this command; restart the daemon") from None
    return document


def _parse_error(status: int, content: bytes) -> IndexdError | None:
    """The daemon's error as the same class, so that the exit code is the same. None for a document with a status of its own."""
    try:
        response = ErrorResponse.model_validate_json(content)
    except ValidationError:
        return None if content.startswith(b"{") else IndexdError(f"the daemon answered with HTTP status {status}")
    kind = getattr(errors, response.kind, IndexdError)
    # ModelUnavailable is built from role and reason; the finished sentence is enough here.
    if not (isinstance(kind, type) and issubclass(kind, IndexdError)) or kind is errors.ModelUnavailable:
        kind = IndexdError
    return kind(response.text)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
