"""HTTP security: Host and Origin checks, access policies, and limits on requests and connections.

Any web page can reach a server on localhost (a form post, or DNS rebinding). Hence the Host must be ours, a foreign Origin or
Sec-Fetch-Site is refused, and bodies must be JSON, which a form cannot send without a CORS preflight. docs/api.md has the
threat model.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from indexd_schemas.api.responses import ErrorResponse

BODY_LIMIT_BYTES = 2 << 20
BODY_TIMEOUT_SECONDS = 30.0
MAX_CONNECTIONS = 64
HEAD_TIMEOUT_SECONDS = 10.0
MAX_HEAD_BYTES = 64 << 10
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD"})
# For a browser that got hold of a response after all: guess no type, run nothing, frame nothing, keep nothing.
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_Refusal = tuple[int, str]


class AccessPolicy(Protocol):
    """Decides who may use the routes of a router."""

    def refusal(self, scope: Scope) -> _Refusal | None:
        """The HTTP status and a sentence, or None where the request is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class BearerToken:
    """Requires `Authorization: Bearer <token>`. None = a Unix socket, whose file mode is the access control."""

    token: str | None

    def refusal(self, scope: Scope) -> _Refusal | None:
        """See AccessPolicy."""
        if self.token is None:
            return None
        given = Headers(scope=scope).get("authorization", "")
        # Constant time: a token that is almost right takes as long as one that is all wrong.
        if hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            return None
        return 401, "the bearer token is missing or wrong; the token file has it"


@dataclass(frozen=True, slots=True)
class Loopback:
    """Allows any client on this machine; for others `otherwise` decides."""

    otherwise: AccessPolicy

    def refusal(self, scope: Scope) -> _Refusal | None:
        """See AccessPolicy."""
        client = scope.get("client")
        if client and ip_address(client[0].partition("%")[0]).is_loopback:
            return None
        return self.otherwise.refusal(scope)


@dataclass(frozen=True, slots=True)
class Router:
    """Routes that share an access policy."""

    policy: AccessPolicy
    app: Starlette

    def matches(self, scope: Scope) -> bool:
        """Whether the path of the request is one of its routes, whatever the method."""
        return any(route.matches(scope)[0] is not Match.NONE for route in self.app.routes)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """A body of `body_bytes` at most, complete within `body_seconds`; `rate` requests a second, twice as many at once.

    None = no limit: nobody but the owner can flood a Unix socket, and a slow command is not an attack.
    """

    rate: float | None = 300.0
    body_bytes: int = BODY_LIMIT_BYTES
    body_seconds: float | None = BODY_TIMEOUT_SECONDS


class SecurityMiddleware:
    """ASGI application: refuses a request with an ErrorResponse and closes the connection, or passes it to its router.

    The last router also serves paths that no router has.
    """

    def __init__(
        self,
        routers: Sequence[Router],
        hosts: frozenset[str],
        limits: RequestLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routers = routers
        self._hosts = hosts
        self._limits = limits
        self._clock = clock
        self._bucket_level = (limits.rate or 0) * 2
        self._bucket_filled_at = clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        guarded = _with_security_headers(send)
        router = next((router for router in self._routers if router.matches(scope)), self._routers[-1])
        refusal = self._refusal(scope, headers, router)
        if refusal is None:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    body = await _read_body(receive, headers, self._limits.body_bytes)
            except TimeoutError:
                refusal = (408, f"the request did not arrive within {self._limits.body_seconds:g} s")
            else:
                if body is not None:
                    await router.app(scope, _replay_body(body, receive), guarded)
                    return
                refusal = (413, f"the request is larger than {self._limits.body_bytes} bytes")
        status, text = refusal
        reply = ErrorResponse(kind="UsageError" if status != 403 else "IndexdError", text=text).model_dump_json()
        # Closing the connection discards whatever a refused client would send next.
        closing = {"connection": "close", **({"retry-after": "1"} if status == 429 else {})}
        await Response(reply, status, closing, "application/json")(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers, router: Router) -> _Refusal | None:
        """Checks from the cheapest to the one with a side effect: only a request that passes the others uses up the rate."""
        refusal = _malformed(scope, headers) or self._foreign(headers) or router.policy.refusal(scope)
        if refusal is not None:
            return refusal
        media_type = headers.get("content-type", "").split(";")[0].strip()
        if scope["method"] not in _METHODS_WITHOUT_BODY and media_type != "application/json":
            return 415, "the body must be JSON (Content-Type: application/json)"
        if not self._take_from_bucket():
            rate = self._limits.rate
            return 429, f"more than {rate:g} requests a second; wait a moment (`[api] requests_per_second`)"
        return None

    def _foreign(self, headers: Headers) -> _Refusal | None:
        if headers.get("host", "").lower() not in self._hosts:
            return 403, "the Host header does not name this server (`[api] hosts`)"
        ours = {f"http://{name}" for name in self._hosts}
        if any(origin.lower() not in ours for origin in headers.getlist("origin")):
            return 403, "requests from other web pages are refused (Origin)"
        if any(site not in ("none", "same-origin") for site in headers.getlist("sec-fetch-site")):
            return 403, "requests from other web pages are refused (Sec-Fetch-Site)"
        return None

    def _take_from_bucket(self) -> bool:
        """A token bucket."""
        rate, now = self._limits.rate, self._clock()
        if rate is None:
            return True
        filled = self._bucket_level + (now - self._bucket_filled_at) * rate
        self._bucket_level, self._bucket_filled_at = min(filled, rate * 2), now
        if self._bucket_level < 1:
            return False
        self._bucket_level -= 1
        return True


def _malformed(scope: Scope, headers: Headers) -> _Refusal | None:
    # h11 limits a head only while it is incomplete: one that arrives whole is measured here.
    if sum(len(name) + len(value) + 4 for name, value in headers.raw) + len(scope["raw_path"]) > MAX_HEAD_BYTES:
        return 431, f"the head of the request is larger than {MAX_HEAD_BYTES} bytes"
    if "content-length" in headers and "transfer-encoding" in headers:
        # RFC 9112, 6.3: the two disagree about where the request ends, which is how requests are smuggled.
        return 400, "Content-Length and Transfer-Encoding exclude each other"
    return None


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
            # The client disconnected before the whole body arrived.
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body that was read already, then what follows it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


class LimitedHttpProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on request heads and a limit on connections.

    uvicorn waits for ever for the head of a request, so that clients which send a byte a minute ("slowloris") would use up
    every connection. SecurityMiddleware limits the time of the body, `timeout_keep_alive` that of an idle connection.
    """

    head_timeout_seconds = HEAD_TIMEOUT_SECONDS
    max_connections = MAX_CONNECTIONS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection, or refuse one too many at once."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self.max_connections:
            self._reject_connection(b"503 Service Unavailable")
        else:
            self._update_head_timer()

    def data_received(self, data: bytes) -> None:
        """Handle bytes of a head or a body."""
        super().data_received(data)
        self._update_head_timer()

    def on_response_complete(self) -> None:
        """Start the time of the next request's head."""
        super().on_response_complete()
        self._update_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._cancel_head_timer()
        super().connection_lost(exc)

    def _update_head_timer(self) -> None:
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._cancel_head_timer()
        elif self._head_timer is None:
            # Started once, not at every byte: otherwise a slow trickle would extend it.
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
