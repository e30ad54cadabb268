"""Generated images, jobs and vectors for the index; no file is read and no model runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.store.protocols import IndexStore
from indexd.store.records import NewJob, NewJobItem, RootRow, ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.vectors.revisions import all_codings
from indexd.store.sqlite.vectors.rows import delete_rows


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Library:
    """Makes sightings and records them under one root."""

    def __init__(self, store: IndexStore, root: RootRow) -> None:
        self.store = store
        self.root = root

    def sighting(
        self, rel: str | bytes, content: str | None = None, stages: tuple[str, ...] = (), **metadata: Any
    ) -> ScannedFile:
        """A settled picture at `rel`, whose bytes are `content` (default: as its name)."""
        rel = rel if isinstance(rel, bytes) else rel.encode()
        text = content.encode() if content is not None else rel
        facts = ImageFacts(hashlib.sha256(text).digest(), len(text), "PNG", 64, 48, 1, ImageMetadata(**metadata))
        return ScannedFile(self.root.id, rel, FileStamp(len(text), 1_700_000_000 * 10**9, 7), facts, None, stages)

    def add(self, rel: str | bytes, content: str | None = None, stages: tuple[str, ...] = (), **metadata: Any) -> int:
        """Record one picture and return its id."""
        recorded = self.store.images.ingest([self.sighting(rel, content, stages, **metadata)], 50.0)
        assert recorded[0].image_id is not None
        return recorded[0].image_id

    def add_many(self, count: int, stages: tuple[str, ...] = (), **metadata: Any) -> list[int]:
        """Record `count` pictures in one batch and return their ids."""
        batch = [self.sighting(f"many/{number}.png", stages=stages, **metadata) for number in range(count)]
        return [recorded.image_id for recorded in self.store.images.ingest(batch, 50.0) if recorded.image_id]


def unit_vectors(n: int, dim: int) -> NDArray[np.float32]:
    """Unit vectors (n, dim) in a narrow cone, the same in every run."""
    chance = np.random.RandomState(n * 31 + dim)
    spread = chance.standard_normal((n, dim)) / np.arange(1, dim + 1) ** 0.5
    around = spread / np.linalg.norm(spread, axis=1, keepdims=True) + chance.standard_normal(dim) / dim**0.5
    return np.asarray(around / np.linalg.norm(around, axis=1, keepdims=True), np.float32)


def new_job(name: str = "portraits", items: int = 2, key: str | None = None, priority: int = 0) -> NewJob:
    """A job of some pictures with the greatest seeds there are."""
    made = tuple(
        NewJobItem(index, 2**64 - 1 - index, f"/out/{name}-{index}.png".encode(), {"steps": 4})
        for index in range(items)
    )
    return NewJob(name, "txt2img", b"kind: txt2img\n", key or f"key of {name}", f"{name}.yaml", priority, made)


def take_vectors(store: SqliteStore, ids: Collection[int]) -> None:
    """Take away the vectors of these images, in every layer and revision, and leave the images: one transaction."""
    database = store._database
    with database.outside_transaction():
        with database.write() as connection:
            for coding in all_codings(connection):
                if coding.key == "image_id":
                    delete_rows(connection, coding, ids)
        store.vectors.notify_removed("image_id", ids)
