"""Fixtures: a growing index with its face assigner and clustering service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.characters.clustering_service import ClusteringService
from indexd.characters.face_assigner import FaceAssigner
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from tests.unit.characters.library import FaceLibrary, HereWorkers
from tests.unit.store.sample_rows import Library


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    with SqliteStore.open(tmp_path / "index.db") as opened:
        yield opened


@pytest.fixture
def face_library(store: IndexStore) -> FaceLibrary:
    return FaceLibrary(store, Library(store, store.roots.ensure(b"/pictures", "images")))


@pytest.fixture
def assigner(store: IndexStore) -> Iterator[FaceAssigner]:
    kept = FaceAssigner(store, 0.75, 0.05)
    yield kept
    kept.stop()


@pytest.fixture
def workers() -> HereWorkers:
    return HereWorkers()


@pytest.fixture
def clusterer(
    store: IndexStore, assigner: FaceAssigner, workers: HereWorkers, tmp_path: Path
) -> Iterator[ClusteringService]:
    service = ClusteringService(store, lambda: workers, assigner, tmp_path / "cache", 10)
    yield service
    service.stop()
