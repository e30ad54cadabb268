"""Fixtures: an open index in a temporary folder, and a library that fills it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.store.protocols import IndexStore
from indexd.store.sqlite.faulty_vfs import FaultyDisk
from indexd.store.sqlite.store import SqliteStore
from tests.unit.store.sample_rows import Clock, Library


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk(waiting_for_the_disk: None) -> Iterator[FaultyDisk]:
    """A disk that fills up or fails when it is told to, and counts what was asked of it."""
    disk = FaultyDisk()
    yield disk
    disk.remove()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[IndexStore]:
    with SqliteStore.open(tmp_path / "index.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def library(store: IndexStore) -> Library:
    return Library(store, store.roots.ensure(b"/pictures", "images"))
