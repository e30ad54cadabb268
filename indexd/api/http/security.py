"""Who may come in at the local door: the checks that keep web pages, other hosts and oversized bodies out.

A server on localhost can be reached from any web page (a form post, or DNS rebinding), so: the Host must be ours, a
foreign Origin or Sec-Fetch-Site is refused, bodies must be JSON (a form cannot send that without asking first), and on
TCP every request must carry the token that only this user can read. docs/api.md has the table of attacks.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from indexd_schemas.api.responses import ErrorResponse

BODY_LIMIT_BYTES = 2 << 20
BODY_TIMEOUT_SECONDS = 30.0
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD"})
# For a browser that got hold of an answer after all: guess no type, run nothing, frame nothing, keep nothing.
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """`rate` requests a second, twice as many at once; a body of `body_bytes` at most, whole within `body_seconds`."""

    rate: float = 300.0
    body_bytes: int = BODY_LIMIT_BYTES
    body_seconds: float = BODY_TIMEOUT_SECONDS


class SecurityMiddleware:
    """ASGI middleware: refuses with a Problem and closes the connection, or passes the whole body on."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: frozenset[str],
        token: str | None,
        limits: RequestLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._limits = limits
        self._clock = clock
        self._bucket_level = limits.rate * 2
        self._bucket_filled_at = clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        guarded = _with_security_headers(send)
        refusal = self._refusal(headers, scope["method"])
        if refusal is None:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    body = await _read_body(receive, headers, self._limits.body_bytes)
            except TimeoutError:
                refusal = (408, f"the request did not arrive within {self._limits.body_seconds:g} s")
            else:
                if body is not None:
                    await self._app(scope, _replay_body(body, receive), guarded)
                    return
                refusal = (413, f"the request is larger than {self._limits.body_bytes} bytes")
        status, text = refusal
        reply = ErrorResponse(kind="UsageError" if status != 403 else "IndexdError", text=text).model_dump_json()
        # What else a stranger would send on this connection is not read.
        closing = {"connection": "close", **({"retry-after": "1"} if status == 429 else {})}
        await Response(reply, status, closing, "application/json")(scope, receive, guarded)

    def _refusal(self, headers: Headers, method: str) -> tuple[int, str] | None:
        if headers.get("host", "").lower() not in self._hosts:
            return 403, "this door answers to its own name only (Host)"
        ours = {f"http://{name}" for name in self._hosts}
        if any(origin.lower() not in ours for origin in headers.getlist("origin")):
            return 403, "requests of web pages from elsewhere are refused (Origin)"
        if any(site not in ("none", "same-origin") for site in headers.getlist("sec-fetch-site")):
            return 403, "requests of web pages from elsewhere are refused (Sec-Fetch-Site)"
        if self._token is not None:
            given = headers.get("authorization", "")
            # Takes as long for a token that is almost right as for one that is all wrong.
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                return 401, "the token is missing or wrong; it stands in the token file"
        if (
            method not in _METHODS_WITHOUT_BODY
            and headers.get("content-type", "").split(";")[0].strip() != "application/json"
        ):
            return 415, "the body must be JSON (Content-Type: application/json)"
        if not self._take_from_bucket():
            return (
                429,
                f"more than {self._limits.rate:g} requests a second; wait a moment (`[api] requests_per_second`)",
            )
        return None

    def _take_from_bucket(self) -> bool:
        """A token bucket. Only who has passed every other check takes from it: a web page cannot empty it for others."""
        now = self._clock()
        filled = self._bucket_level + (now - self._bucket_filled_at) * self._limits.rate
        self._bucket_level, self._bucket_filled_at = min(filled, self._limits.rate * 2), now
        if self._bucket_level < 1:
            return False
        self._bucket_level -= 1
        return True


def _with_security_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


async def _read_body(receive: Receive, headers: Headers, limit: int) -> bytes | None:
    """The whole body, or None when it is over the limit."""
    declared = headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        return None
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            # The visitor left in the middle of the body: half a request is not carried out.
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, then whatever comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


# How long a connection may take to say what it wants, and how many there may be: what uvicorn leaves open. uvicorn waits for ever for the head of a request, so that anybody who opens connections and sends a letter a minute ("slowloris") would use them all up. The body has its time in `guard`; an idle connection has `timeout_keep_alive`.

MAX_CONNECTIONS = 64
HEAD_TIMEOUT_SECONDS = 10.0
MAX_HEAD_BYTES = 64 << 10


class LimitedHttpProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on heads and a limit on connections."""

    head_timeout_seconds = HEAD_TIMEOUT_SECONDS
    max_connections = MAX_CONNECTIONS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor; one too many is sent away at once."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self.max_connections:
            self._reject_connection(b"503 Service Unavailable")
        else:
            self._update_head_timer()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body."""
        super().data_received(data)
        self._update_head_timer()

    def on_response_complete(self) -> None:
        """Answered; the head of the next request has its time from now on."""
        super().on_response_complete()
        self._update_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._cancel_head_timer()
        super().connection_lost(exc)

    def _update_head_timer(self) -> None:
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._cancel_head_timer()
        elif self._head_timer is None:
            # Started once and not at every byte: a slow trickle is what this is against.
            self._head_timer = self.loop.call_later(
                self.head_timeout_seconds, self._reject_connection, b"408 Request Timeout"
            )

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _reject_connection(self, status: bytes) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
