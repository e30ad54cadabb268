"""A real index with pictures that are mere bytes, and dispatchers over it that a test drives by hand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages import stages_for
from indexd.indexing.stages.index_stage import ThumbnailTarget
from indexd.store.protocols import IndexStore
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import DetectorSpec, FacesSpec, ModelSpec, WorkerSettings
from indexd.worker.fake_workers import FakeWorkers


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    with SqliteStore.open(tmp_path / "index.db") as store:
        yield store


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    return folder


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> WorkerSettings:
    specs = {role: ModelSpec(role, str(models), batch_size=4) for role in ("bge", "clip_l", "clip_g", "clip_h")}
    faces = FacesSpec((DetectorSpec(str(models / "weights")),), batch_size=4)
    return WorkerSettings(specs, cache_folder=str(tmp_path / "cache"), faces=faces)


@pytest.fixture
def add(store: IndexStore, tmp_path: Path) -> Callable[..., list[int]]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    root = store.roots.ensure(os.fsencode(folder), "images")

    def add(*prompts: str | None, negative: str | None = None) -> list[int]:
        sightings = []
        for prompt in prompts:
            content = os.urandom(16)
            name = content.hex() + ".png"
            (folder / name).write_bytes(content)
            facts = ImageFacts(
                hashlib.sha256(content).digest(),
                16,
                "PNG",
                8,
                8,
                1,
                ImageMetadata(prompt=prompt, negative_prompt=negative),
            )
            stamp = FileStamp.from_stat(os.stat(folder / name))
            sightings.append(ScannedFile(root.id, name.encode(), stamp, facts, stages=stages_for(facts, {"face"})))
        return [recorded.image_id or 0 for recorded in store.images.ingest(sightings, 1.0)]

    return add


@pytest.fixture
def dispatcher_of(store: IndexStore, settings: WorkerSettings, clock: Clock) -> Callable[..., IndexDispatcher]:
    def make(workers: FakeWorkers, settings: WorkerSettings = settings) -> IndexDispatcher:
        workers.settings = settings
        return IndexDispatcher(store, workers, settings, ThumbnailTarget("/nowhere", 64), now=clock)

    return make
