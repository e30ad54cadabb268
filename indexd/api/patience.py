"""How long a connection may take to say what it wants, and how many there may be: what uvicorn leaves open.

uvicorn waits for ever for the head of a request, so that anybody who opens connections and sends a letter a minute
("slowloris") would use them all up. The body has its time in `guard`; an idle connection has `timeout_keep_alive`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 64
HEAD_SECONDS = 10.0
HEAD_BYTES = 64 << 10


class Patient(H11Protocol):
    """HTTP/1.1 with a time limit on heads and a limit on connections."""

    head_seconds = HEAD_SECONDS
    most_connections = MOST_CONNECTIONS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor; one too many is sent away at once."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self.most_connections:
            self._send_away(b"503 Service Unavailable")
        else:
            self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Answered; the head of the next request has its time from now on."""
        super().on_response_complete()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._stop_watching()
        elif self._head_timer is None:
            # Started once and not at every byte: a slow trickle is what this is against.
            self._head_timer = self.loop.call_later(self.head_seconds, self._send_away, b"408 Request Timeout")

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _send_away(self, status: bytes) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
