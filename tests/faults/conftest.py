"""A home for the instant daemon, which is stopped at the end of each test whatever came of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexd.demo.daemon_process import DaemonProcess
from tests.faults.instant import make_home

Launch = Callable[..., DaemonProcess]
START_SECONDS = 300.0
WAIT_SECONDS = 300.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name, because a home holds a socket."""
    folder = Path(tempfile.mkdtemp(prefix="indexd-fault-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(place: Path) -> Path:
    return make_home(place / "home")


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts the instant daemon on a home, and waits for its first answer."""
    started: list[DaemonProcess] = []

    def start(home: Path, environment: dict[str, str] | None = None) -> DaemonProcess:
        daemon = DaemonProcess(home, environment, "tests.faults.instant")
        started.append(daemon)
        daemon.start(START_SECONDS)
        return daemon

    yield start
    for daemon in started:
        daemon.stop(60.0)
