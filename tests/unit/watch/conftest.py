"""Fixtures: a watched folder, a manually driven root, and `eventually`, which waits for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.watch.manual_root import ManualRoot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def manual_root(folder: Path) -> Iterator[ManualRoot]:
    driven = ManualRoot(folder)
    yield driven
    if driven.loop is not None:
        driven.loop.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds; only what never comes true fails."""

    def wait(holds: Callable[[], bool]) -> None:
        limit = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < limit, "it never came true"
            time.sleep(0.01)

    return wait
