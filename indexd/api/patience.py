"""How long a connection may take to say what it wants, and how many there may be: what uvicorn leaves open.

uvicorn waits for ever for the head of a request, so that anybody who opens connections and sends a letter a minute
("slowloris") would use them all up. The body has its time in `guard`; an idle connection has `timeout_keep_alive`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

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
