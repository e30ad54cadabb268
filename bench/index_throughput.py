"""Images indexed per second with models that do nothing, compared with the limit.

Each step also runs alone on the same files: directory walk, reading bytes, parsing (hash, header, metadata), and index. The
slowest is the limit.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path

from PIL import Image, PngImagePlugin

from bench.support import homes, report
from indexd import config, daemon
from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.images.reader_client import ReaderClient
from indexd.indexing.dispatcher import IndexDispatcher
from indexd.indexing.stages.index_stage import ThumbnailTarget
from indexd.ingest import IngestPipeline
from indexd.registry import IngestContext, file_kinds
from indexd.store.records import IngestResult, ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.watch.root_context import RootContext
from indexd.watch.service import scan_roots_once
from indexd.worker.calls import ModelSpec, WorkerSettings
from indexd.worker.fake_workers import FakeWorkers
from indexd.worker.local_workers import LocalWorkers
from indexd_schemas.model_roles import ROLES

DISTINCT_IMAGES = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    with homes.temporary_home() as home:
        output = home / "output"
        paths = _write_images(output, options.images, options.size)
        loaded = config.read_config(home)
        rates = {
            "walk and stat": report.per_second(len(paths), lambda: [path.stat() for path in output.rglob("*.png")]),
            "read the bytes": report.per_second(len(paths), lambda: [path.read_bytes() for path in paths]),
        }
        store = SqliteStore.open(home / "stages.db")
        root = store.roots.ensure(str(output).encode(), "images")
        handler = file_kinds.get("image")
        assert handler is not None
        context = IngestContext(loaded.settings)
        sightings: list[ScannedFile] = []

        def read() -> None:
            settled = [
                SettledFile(
                    root.id,
                    root.path,
                    path.relative_to(output).as_posix().encode(),
                    FileStamp.from_stat(path.stat()),
                    "images",
                )
                for path in paths
            ]
            sightings.extend(handler(settled, context))

        def record() -> None:
            for start in range(0, len(sightings), 256):
                store.images.ingest(sightings[start : start + 256], time.time())

        rates["facts: hash, header, metadata (one thread)"] = report.per_second(len(paths), read)
        rates["the index, in batches"] = report.per_second(len(paths), record)
        store.close()
        whole, layers = _whole_rates(loaded, len(paths))
        bound = min(rates, key=lambda name: rates[name])
        for name, rate in rates.items():
            report.print_result(f"alone: {name}", rate, "images/s")
        report.print_result(
            f"whole: folder to metadata in the index ({options.size} px)",
            whole,
            "images/s",
            rates[bound],
            f"bound by: {bound},",
        )
        report.print_result("whole: and every layer, fake models", layers, "images/s")


def _write_images(folder: Path, count: int, size: int) -> list[Path]:
    """Write images of realistic size with repeated pixels (encoding is slow) and unique texts."""
    kinds = []
    for number in range(DISTINCT_IMAGES):
        image = Image.effect_noise((size, size), 40 + number).convert("RGB")
        kinds.append(image)
    paths = []
    for number in range(count):
        parent = folder / f"{number // homes.FILES_PER_FOLDER:05}"
        parent.mkdir(parents=True, exist_ok=True)
        text = PngImagePlugin.PngInfo()
        text.add_text(
            "parameters",
            f"a lighthouse {number}\nNegative prompt: blurred\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {number}, Size: {size}x{size}",
        )
        path = parent / f"{number:06}.png"
        kinds[number % DISTINCT_IMAGES].save(path, pnginfo=text, compress_level=1)
        paths.append(path)
    return paths


def _whole_rates(loaded: config.Config, count: int) -> tuple[float, float]:
    store = SqliteStore.open(loaded.paths.index)
    recorded = 0
    all_recorded = threading.Event()

    def on_recorded(batch: list[IngestResult]) -> None:
        nonlocal recorded
        recorded += len(batch)
        if recorded >= count:
            all_recorded.set()

    workers = LocalWorkers(WorkerSettings({}, str(loaded.paths.cache)))
    reader = ReaderClient(workers)
    reader.read_batch([])  # a running daemon has its reader process already
    context = IngestContext(loaded.settings, read_images=reader.read_batch)
    intake = IngestPipeline(store, context, on_recorded, lambda error: print(error))
    roots = daemon.watched_roots(loaded, store)
    begin = time.perf_counter()
    intake.start()
    scan_roots_once(roots, RootContext(store.files, intake.deliver, lambda *_event: None))
    all_recorded.wait(600)
    metadata = count / (time.perf_counter() - begin)
    specs = {role: ModelSpec(role, str(loaded.paths.home)) for role in ROLES}
    thumbnails = ThumbnailTarget(str(loaded.paths.thumbnails), 384)
    layers = IndexDispatcher(store, FakeWorkers(), WorkerSettings(specs, str(loaded.paths.cache)), thumbnails)
    layers.start()
    layers.drain()
    everything = count / (time.perf_counter() - begin)
    layers.stop()
    intake.stop()
    workers.stop(5.0)
    store.close()
    return metadata, everything


if __name__ == "__main__":
    main()
