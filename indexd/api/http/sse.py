"""Serves event streams over HTTP: heartbeats, resumption, and a clean end when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from indexd.api.event_buffer import BufferedEventStream
from indexd.api.event_stream import HEARTBEAT_SECONDS

MAX_STREAMS = 32
RETRY_MILLISECONDS = 2000


class SseStreams:
    """The open event streams of a server. Used in the event loop only, but for `close`'s caller (see ApiServer.stop)."""

    heartbeat_seconds = HEARTBEAT_SECONDS

    def __init__(self) -> None:
        self._wake: set[asyncio.Event] = set()
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether no further stream is accepted; each one holds a connection."""
        return len(self._wake) >= MAX_STREAMS

    async def serve(self, stream: BufferedEventStream) -> AsyncIterator[bytes]:
        """The body of the response, until the client leaves or the server stops."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        self._wake.add(wake)
        unsubscribe = stream.buffer.added.subscribe(lambda: loop.call_soon_threadsafe(wake.set))
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            while not self._is_closed:
                wake.clear()
                for event in stream.read():
                    yield event.encode()
                try:
                    await asyncio.wait_for(wake.wait(), self.heartbeat_seconds)
                except TimeoutError:
                    yield b": heartbeat\n\n"
        finally:
            unsubscribe()
            self._wake.discard(wake)

    def close(self) -> None:
        """End every stream."""
        self._is_closed = True
        for wake in self._wake:
            wake.set()
