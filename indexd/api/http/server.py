"""The HTTP server of the daemon: uvicorn in a thread, on our own socket, without its ten wake-ups a second."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from indexd.api.http.listen import ApiListener, open_listener
from indexd.api.http.routes import make_routers
from indexd.api.http.security import MAX_HEAD_BYTES, LimitedHttpProtocol, RequestLimits, SecurityMiddleware
from indexd.api.http.sse import SseStreams
from indexd.api.operations.registry import Operations, all_operations
from indexd.background.background_service import BackgroundService
from indexd.config import Config
from indexd.liveness import Liveness

log = logging.getLogger(__name__)

# Each thread that touches the index keeps a read connection of its own.
OPERATION_THREADS = 6
GRACE_SECONDS = 3


class _EventDrivenServer(uvicorn.Server):
    """uvicorn wakes every 0.1 s to update headers that are not sent here; this server sleeps until it is woken."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit_event: asyncio.Event | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exit_event = asyncio.Event()
        self._on_ready()
        await self._exit_event.wait()

    def end_loop(self) -> None:
        """End the loop, from any thread."""
        if self._exit_event is not None:
            self.call_soon(self._exit_event.set)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Schedule a call in the event loop, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)


class _ServerThread(BackgroundService):
    """Runs the event loop of one server. `on_end` is called when it is over."""

    def __init__(
        self,
        server: _EventDrivenServer,
        listener: socket.socket,
        liveness: Liveness,
        on_end: Callable[[], None],
        on_failure: Callable[[BaseException], None] | None,
    ) -> None:
        super().__init__("api", on_failure=on_failure, liveness=liveness)
        self._server = server
        self._listener = listener
        self._on_end = on_end

    def run_once(self) -> None:
        """Serve until `end_loop`."""
        asyncio.run(self._server.serve(sockets=[self._listener]))
        self.request_stop()

    def finish(self) -> None:
        """Call `on_end`."""
        self._on_end()


class ApiServer:
    """Serves the HTTP API until `stop`. The caller holds the instance lock."""

    def __init__(
        self, config: Config, operations: Operations, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        self._config = config
        self._operations = operations
        self._on_failure = on_failure
        self._streams = SseStreams()
        self._ready = threading.Event()
        self._listener: ApiListener | None = None
        self._server: _EventDrivenServer | None = None
        self._thread: _ServerThread | None = None
        self.liveness = Liveness("api", wake=self._request_beat)

    @property
    def listener(self) -> ApiListener:
        """The listening socket; only after `start`."""
        assert self._listener is not None
        return self._listener

    def is_reachable(self) -> bool:
        """Whether the socket (or, for TCP, the token file) is still where clients look for it."""
        return self._listener is not None and self._listener.is_in_place()

    def start(self) -> None:
        """Listen, and return when requests are answered. Raises IndexdError when the socket cannot be opened."""
        self._ready.clear()
        self._listener = open_listener(self._config)
        pool = ThreadPoolExecutor(OPERATION_THREADS, thread_name_prefix="api")
        if self._listener.token is None:
            limits, protocol = RequestLimits(rate=None, body_seconds=None), H11Protocol
        else:
            limits = RequestLimits(rate=self._config.settings.api.requests_per_second)
            protocol = LimitedHttpProtocol
        self._streams = SseStreams()
        routers = make_routers(self._operations, all_operations(), pool, self._streams, self._listener.token)
        settings = uvicorn.Config(
            SecurityMiddleware(routers, self._listener.hosts, limits),
            loop="asyncio",
            http=protocol,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _EventDrivenServer(settings, self._ready.set)
        # The INFO lines of uvicorn about its own start mean nothing to a reader of the daemon's log.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)

        def on_end() -> None:
            self._ready.set()
            pool.shutdown(wait=False, cancel_futures=True)

        listener = self._listener.socket
        self._thread = _ServerThread(self._server, listener, self.liveness, on_end, self._on_failure)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Stop listening; running requests get GRACE_SECONDS to finish. Harmless when not started."""
        server, thread, listener = self._server, self._thread, self._listener
        self._server = self._thread = None
        if server is not None:
            # First, so that no stream makes the others wait for the grace period.
            server.call_soon(self._streams.close)
            server.end_loop()
        if thread is not None:
            thread.join()
        if listener is not None:
            listener.close()

    def _request_beat(self) -> None:
        if self._server is not None:
            self._server.call_soon(self.liveness.beat)
