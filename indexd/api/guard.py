"""Who may come in at the local door: the checks that keep web pages, other hosts and oversized bodies out.

A server on localhost can be reached from any web page (a form post, or DNS rebinding), so: the Host must be ours, a
foreign Origin or Sec-Fetch-Site is refused, bodies must be JSON (a form cannot send that without asking first), and on
TCP every request must carry the token that only this user can read.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexd_schemas.replies import Problem

BODY_LIMIT_BYTES = 2 << 20
_WITHOUT_BODY = frozenset({"GET", "HEAD"})


class Guard:
    """ASGI middleware: refuses with a Problem, or passes the whole body on."""

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str], token: str | None, body_limit: int = BODY_LIMIT_BYTES
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers, scope["method"])
        if refusal is None:
            body = await _read(receive, headers, self._body_limit)
            if body is None:
                refusal = (413, f"the request is larger than {self._body_limit} bytes")
            else:
                await self._app(scope, _replay(body, receive), send)
                return
        status, text = refusal
        reply = Problem(kind="UsageError" if status != 403 else "IndexdError", text=text).model_dump_json()
        await Response(reply, status, media_type="application/json")(scope, receive, send)

    def _refusal(self, headers: Mapping[str, str], method: str) -> tuple[int, str] | None:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return 403, "this door answers to its own name only (Host)"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{name}" for name in self._hosts}:
            return 403, "requests of web pages from elsewhere are refused (Origin)"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "requests of web pages from elsewhere are refused (Sec-Fetch-Site)"
        if self._token is not None:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                return 401, "the token is missing or wrong; it stands in the token file"
        if method not in _WITHOUT_BODY and headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return 415, "the body must be JSON (Content-Type: application/json)"
        return None


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes | None:
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


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, then whatever comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
