"""Images written per second (image row, full text, index tasks, file and five vectors each), compared with plain inserts.

The limit is plain SQLite with the same settings (WAL, page size, batch size) that inserts the same bytes: a row of the same
texts, and five blobs of the same length into two tables without an index. Codes, full text, indexes and index tasks explain
the difference.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

# As in the daemon: on a busy machine OpenBLAS took three times as long with two threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import apsw
import numpy as np
from numpy.typing import NDArray

from bench.support.report import print_result
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata, MetadataLora, RawChunk
from indexd.store.records import ScannedFile, StageInput
from indexd.store.sqlite.database import PAGE_BYTES
from indexd.store.sqlite.store import SqliteStore

IMAGES = 4096
BATCH = 256
LAYERS: dict[str, tuple[int, StageInput]] = {
    "bge_prompt": (1024, "prompt"),
    "bge_negative": (1024, "negative_prompt"),
    "clip_l": (768, "prompt"),
    "clip_g": (1280, "prompt"),
    "clip_h": (1024, "image"),
}


def scanned_files(count: int, root_id: int) -> list[ScannedFile]:
    """Images with prompts of 40 words out of 5000."""
    chance = np.random.default_rng(1)
    made = []
    for number in range(count):
        prompt = " ".join(f"word{word}" for word in chance.zipf(1.3, 40) % 5000)
        metadata = ImageMetadata(
            generator="a1111",
            prompt=prompt,
            negative_prompt="bad hands, blurry",
            seed=str(chance.integers(2**63)),
            steps=30,
            cfg=7.0,
            sampler="Euler a",
            model_name="pony",
            loras=(MetadataLora("grain", 0.5),),
            raw=(RawChunk("png:parameters", "utf-8", prompt),),
        )
        content = hashlib.blake2b(str(number).encode(), digest_size=32).digest()
        facts = ImageFacts(content, 1_500_000, "PNG", 1024, 1024, 1, metadata)
        stamp = FileStamp(1_500_000, 1_700_000_000 * 10**9 + number, number)
        made.append(ScannedFile(root_id, b"2026/%06d.png" % number, stamp, facts, None, ("thumbnail", *LAYERS)))
    return made


def make_vectors(count: int, dim: int) -> NDArray[np.float32]:
    """Unit vectors (count, dim)."""
    made = np.random.default_rng(dim).standard_normal((count, dim), dtype=np.float32)
    unit: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def measure_store(folder: Path, count: int) -> tuple[float, float]:
    """Seconds for the records and for the vectors."""
    with SqliteStore.open(folder / "ours.db") as store:
        root = store.roots.ensure(b"/images", "images")
        revisions = {name: store.vectors.activate(name, "bench", dim, of) for name, (dim, of) in LAYERS.items()}
        images = scanned_files(count, root.id)
        batches = [images[start : start + BATCH] for start in range(0, count, BATCH)]
        unit = {name: make_vectors(BATCH, dim) for name, (dim, _) in LAYERS.items()}
        # An unmeasured first batch pays the one-time costs of the process.
        warm = ScannedFile(
            root.id, b"warm.png", FileStamp(1, 1, 1), ImageFacts(b"w", 1, "PNG", 1, 1, 1, ImageMetadata())
        )
        first = store.images.ingest([warm], 0.0)[0].image_id or 0
        for name in LAYERS:
            store.vectors.put(name, revisions[name], [first], unit[name][:1])
        recording = embedding = 0.0
        for batch in batches:
            started = time.perf_counter()
            ids = [recorded.image_id or 0 for recorded in store.images.ingest(batch, 0.0)]
            recorded_at = time.perf_counter()
            for name in LAYERS:
                store.vectors.put(name, revisions[name], ids, unit[name][: len(ids)])
            recording += recorded_at - started
            embedding += time.perf_counter() - recorded_at
    return recording, embedding


def measure_plain_inserts(folder: Path, count: int) -> float:
    """Seconds for plain inserts of the same bytes."""
    connection = apsw.Connection(str(folder / "bare.db"))
    for pragma in (f"page_size = {PAGE_BYTES}", "journal_mode = WAL", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute("CREATE TABLE image (id INTEGER PRIMARY KEY, hash BLOB, path BLOB, texts TEXT)")
    connection.execute("CREATE TABLE vector (id INTEGER PRIMARY KEY, half BLOB)")
    rows = [
        (one.facts.content_hash, one.rel, f"{one.facts.metadata.prompt} {one.facts.metadata.negative_prompt}")
        for one in scanned_files(count, 1)
        if one.facts
    ]
    halves = [make_vectors(1, dim).astype(np.float16).tobytes() for dim, _ in LAYERS.values()]
    started = time.perf_counter()
    for start in range(0, count, BATCH):
        batch = rows[start : start + BATCH]
        with connection:
            connection.executemany("INSERT INTO image (hash, path, texts) VALUES (?, ?, ?)", batch)
        for half in halves:
            with connection:
                connection.executemany("INSERT INTO vector (half) VALUES (?)", [(half,)] * len(batch))
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


def main(count: int = IMAGES) -> None:
    """Print our figure, the limit's, and the ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording, embedding = measure_store(folder, count)
        limit = count / measure_plain_inserts(folder, count)
    print_result("metadata, full text and work recorded", count / recording, "images/s")
    print_result("five vectors with codes put", count / embedding, "images/s")
    print_result("both", count / (recording + embedding), "images/s", limit, "plain inserts of the same bytes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
