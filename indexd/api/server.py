"""The local door served from a thread of the daemon: uvicorn on our own socket, without its ten wake-ups a second."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from indexd.api.guard import Guard, Limits
from indexd.api.listen import Door, open_door
from indexd.api.operations import Operations
from indexd.api.patience import HEAD_BYTES, Patient
from indexd.api.routes import application
from indexd.config import Config
from indexd.pulse import Pulse

log = logging.getLogger(__name__)

# Each thread that touches the index keeps a read connection of its own.
OPERATION_THREADS = 6
GRACE_SECONDS = 3


class _Quiet(uvicorn.Server):
    """uvicorn's own loop looks at the clock every 0.1 s for headers that are not sent here; this one sleeps."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        self._on_ready()
        await self._leave.wait()

    def leave(self) -> None:
        """End the loop, from any thread."""
        if self._leave is not None:
            self.soon(self._leave.set)

    def soon(self, call: Callable[[], None]) -> None:
        """Have the loop make this call when it comes round, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)


class Server:
    """Answers at the local door until `stop`. The caller holds the instance lock."""

    def __init__(
        self, config: Config, operations: Operations, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        self._config = config
        self._operations = operations
        self._on_failure = on_failure
        self._ready = threading.Event()
        self._door: Door | None = None
        self._server: _Quiet | None = None
        self._thread: threading.Thread | None = None
        self.pulse = Pulse("door", wake=self._ask)

    @property
    def door(self) -> Door:
        """The open door; only after `start`."""
        assert self._door is not None
        return self._door

    def start(self) -> None:
        """Open the door and return when it answers. Raises IndexdError when it cannot be opened."""
        self._door = open_door(self._config)
        pool = ThreadPoolExecutor(OPERATION_THREADS, thread_name_prefix="door")
        limits = Limits(rate=self._config.settings.api.requests_per_second)
        guard = Guard(application(self._operations, pool), self._door.hosts, self._door.token, limits)
        settings = uvicorn.Config(
            guard,
            loop="asyncio",
            http=Patient,
            h11_max_incomplete_event_size=HEAD_BYTES,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Quiet(settings, self._ready.set)
        # uvicorn says INFO lines about its own start that mean nothing to the reader of the daemon's log.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._thread = threading.Thread(target=self._serve, args=(self._server, pool), name="door")
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close the door; requests in hand get GRACE_SECONDS to finish. Harmless when it is not open."""
        server, thread, door = self._server, self._thread, self._door
        self._server = self._thread = None
        if server is not None:
            server.leave()
        if thread is not None:
            thread.join()
        if door is not None:
            door.close()

    def _ask(self) -> None:
        if self._server is not None:
            self._server.soon(self.pulse.beat)

    def _serve(self, server: _Quiet, pool: ThreadPoolExecutor) -> None:
        try:
            asyncio.run(server.serve(sockets=[self.door.socket]))
        except BaseException as error:
            log.exception("the local door failed")
            if self._on_failure is not None:
                self._on_failure(error)
        finally:
            self._ready.set()
            pool.shutdown(wait=False, cancel_futures=True)
