"""The back ends that every test of this folder runs on. Another one is one more line in BACK_ENDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from tests.unit.store.sample_rows import Clock, Library

OpenStore = Callable[[], IndexStore]


def _open_sqlite(folder: Path, clock: Clock) -> IndexStore:
    return SqliteStore.open(folder / "index.db", clock=clock)


BACK_ENDS: dict[str, Callable[[Path, Clock], IndexStore]] = {"sqlite": _open_sqlite}


@pytest.fixture(params=list(BACK_ENDS))
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> OpenStore:
    """Opens the index of this test; called again after `close`, it opens the same index."""
    return lambda: BACK_ENDS[request.param](tmp_path, clock)


@pytest.fixture
def store(open_store: OpenStore) -> Iterator[IndexStore]:
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture
def library(store: IndexStore) -> Library:
    return Library(store, store.roots.ensure(b"/pictures", "images"))
