"""systemd's part, played by the test: a socket that hears what the daemon tells."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


class Manager:
    """Listens at a NOTIFY_SOCKET; `heard` holds every field in order."""

    path: Path
    _door: socket.socket

    def __init__(self, folder: Path) -> None:
        if sys.platform == "win32":
            pytest.skip("systemd runs on Linux")
        self.path = folder / "notify"
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._door.bind(str(self.path))
        self.heard: list[tuple[str, str]] = []

    def listen(self, seconds: float = 0.0) -> list[tuple[str, str]]:
        """Take what has come, and what comes within so many seconds."""
        end = time.monotonic() + seconds
        while True:
            self._door.settimeout(max(end - time.monotonic(), 0.0005))
            try:
                message = self._door.recv(65536).decode()
            except (TimeoutError, BlockingIOError):
                return self.heard
            self.heard += [(name, value) for name, _, value in (line.partition("=") for line in message.split("\n"))]

    def wait_for(self, what: str, told: Callable[[list[tuple[str, str]]], bool], seconds: float = 20.0) -> None:
        """Listen until it was told."""
        end = time.monotonic() + seconds
        while not told(self.heard):
            assert time.monotonic() < end, f"{what} was not told; heard {self.heard[-8:]}"
            self.listen(0.05)

    def count(self, name: str) -> int:
        """How often a field was told."""
        return sum(1 for field, _ in self.heard if field == name)

    def close(self) -> None:
        """Go away."""
        self._door.close()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A service manager that listens, in a folder short enough for a socket."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no Unix sockets")
    folder = Path(tempfile.mkdtemp(prefix="ixd-"))
    manager = Manager(folder)
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    yield manager
    manager.close()
    shutil.rmtree(folder, ignore_errors=True)
