"""An HTTP server that really listens, on a Unix socket or on loopback."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from indexd.api.client import RemoteOperations
from indexd.api.connect import find_daemon
from indexd.api.http.server import ApiServer
from indexd.config import Config, read_config
from tests.unit.api.scripted_operations import ScriptedOperations


@dataclass
class RunningApi:
    """A running server, the operations behind it, and a client."""

    config: Config
    operations: ScriptedOperations
    server: ApiServer
    client: RemoteOperations


StartApi = Callable[..., RunningApi]


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    home = Path(tempfile.mkdtemp(prefix="ixd-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def start_api(short_home: Path) -> Iterator[StartApi]:
    """Starts servers; they are stopped after the test."""
    servers: list[ApiServer] = []

    def start(listen: str = "auto", **api: object) -> RunningApi:
        if listen == "unix" and not hasattr(socket, "AF_UNIX"):
            pytest.skip("no Unix sockets here")
        config = read_config(short_home, {"api": {"listen": listen, **api}})
        operations = ScriptedOperations()
        server = ApiServer(config, operations)
        server.start()
        servers.append(server)
        client = find_daemon(config)
        assert client is not None
        return RunningApi(config, operations, server, client)

    yield start
    for server in servers:
        server.stop()
