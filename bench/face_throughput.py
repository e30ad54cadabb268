"""Faces indexed per second with fake models, compared with the limit.

Decoding, cropping, quality, codes and index are real; detector and embedder return at once. The limit is decoding the
same images alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.support import homes, report
from indexd.images.decode import open_image
from indexd.indexing.decoded_images import DecodedImages
from indexd.indexing.stages.faces import FaceStage
from indexd.indexing.stages.index_stage import StageContext, ThumbnailTarget
from indexd.models.detector import Detection
from indexd.models.serve_faces import find_faces
from indexd.models.token_windows import EmbeddingArray
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.calls import CLIP_H, FACES, DetectorSpec, FacesSpec, FindFaces, ModelSpec, WorkerSettings

DIM = 1024
DISTINCT_IMAGES = 20


class InstantDetector:
    """Finds `count` faces side by side in every image."""

    identity = "none"

    def __init__(self, count: int) -> None:
        self._count = count

    def detect(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """Return the same boxes for every image."""
        boxes = [(n / self._count, 0.3, 0.8 / self._count, 0.3) for n in range(self._count)]
        sizes = [int(min(0.3 * one.height, 0.8 / self._count * one.width)) for one in images]
        return [[Detection("face", "none", box, 0.9, size) for box in boxes] for size in sizes]


class InstantFaceEmbedder:
    """Returns precomputed vectors."""

    identity, dim = "none", DIM

    def __init__(self) -> None:
        rows = np.random.default_rng(0).standard_normal((64, DIM)).astype(np.float32)
        self._rows = np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def embed_images(self, images: Sequence[Image.Image]) -> EmbeddingArray:
        """Return one vector for each image."""
        return self._rows[np.arange(len(images)) % len(self._rows)]


class InstantModelSession:
    """A session whose pool holds both fakes and that nobody cancels."""

    def __init__(self, settings: WorkerSettings, faces_each: int) -> None:
        self.settings = settings
        self.pool: Any = self
        self._models = {FACES: InstantDetector(faces_each), CLIP_H: InstantFaceEmbedder()}

    @contextmanager
    def lease(self, role: str, _key: str, _load: Callable[[], Any], _keep_alive_seconds: float | None) -> Iterator[Any]:
        """The fake model of the role."""
        yield self._models[role]

    def run_with_eviction(self, work: Callable[[], Any]) -> Any:
        """Run without evicting anything."""
        return work()

    def spec(self, role: str) -> ModelSpec:
        return ModelSpec(role, "", device="cpu", dtype="float32")

    def poll(self) -> None:
        """No urgent calls."""

    def raise_if_cancelled(self) -> None:
        """Cancelled between steps only."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """No listener."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--faces", type=int, default=2, help="faces a image")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    with homes.temporary_home() as home:
        paths = _write_images(home / "images", options.images, options.size)
        decoding = report.per_second(len(paths), lambda: [open_image(path).size for path in paths])
        homes.index_files(home / "index.db", home / "images", paths)
        store = SqliteStore.open(home / "index.db")
        store.faces.set_enabled(on=True)
        spec = FacesSpec((DetectorSpec("none"),), batch_size=options.batch)
        session = InstantModelSession(WorkerSettings({CLIP_H: ModelSpec(CLIP_H, "")}, str(home), spec), options.faces)

        stage = FaceStage()
        context = StageContext(
            store, session.settings, ThumbnailTarget("", 0), DecodedImages(str(home / "decoded")), time.time()
        )

        def everything() -> None:
            while items := store.index_tasks.claim("face", options.batch, time.time()):
                batch = stage.build(items, context)
                assert batch is not None and isinstance(batch.call, FindFaces)
                stage.store(batch, find_faces(batch.call, session), context)

        whole = report.per_second(len(paths), everything)
        found = len(store.faces.face_ids())
        assert found == options.faces * len(paths), f"{found} faces"
        began = time.perf_counter()
        matrix = store.faces.vectors()
        reading = len(matrix.ids) / (time.perf_counter() - began)
        store.close()
    report.print_result(
        f"faces indexed, fake models ({options.size} px)",
        whole * options.faces,
        "faces/s",
        decoding * options.faces,
        "bound by: decoding,",
    )
    report.print_result("the vectors of all faces as one matrix", reading, "faces/s")


def _write_images(folder: Path, count: int, size: int) -> list[Path]:
    folder.mkdir(parents=True)
    kinds = [Image.effect_noise((size, size), 40 + number).convert("RGB") for number in range(DISTINCT_IMAGES)]
    paths: list[Path] = []
    for number in range(count):
        path = folder / f"{number:06}.png"
        if number < DISTINCT_IMAGES:
            kinds[number].save(path, compress_level=1)
        else:
            os.link(paths[number % DISTINCT_IMAGES], path)
        paths.append(path)
    return paths


if __name__ == "__main__":
    main()
