"""An index of any size in the shape of a real one: names, dates, folders, prompts, annotations and cone-shaped vectors.

SHARES states which share of the images a filter keeps. The index's own functions build the library, so building it also
measures the insert rate of images and vectors.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.support.synthetic_vectors import SyntheticLayer
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata, MetadataLora, RawChunk
from indexd.indexing.stages import LAYERS
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter, ScannedFile

BATCH = 500
FILES_PER_FOLDER = 400
VOCABULARY_SIZE = 20_000
WORDS_PER_PROMPT = 60
DIMS = {"bge_prompt": 1024, "bge_negative": 1024, "clip_l": 768, "clip_g": 1280, "clip_h": 1024}

FILTERS_BY_SHARE: dict[str, tuple[Filter, ...]] = {
    "half": (Filter("model", "=", "pony*"),),
    "5 %": (Filter("sampler", "=", "heun"),),
    "0.1 %": (Filter("lora", "=", "grain"),),
    "one folder": (Filter("path", "=", "000001/*"),),
    "a piece of a path": (Filter("path", "=", "*/000001/*"),),
}


@dataclass(frozen=True, slots=True)
class BuildTimes:
    """Build durations: seconds for the records, and seconds and number of images with all five vectors."""

    record_seconds: float
    five_seconds: float
    five_images: int


def build(store: IndexStore, images: int, layers: tuple[str, ...], five: int) -> BuildTimes:
    """Fill an empty index with `images` images with vectors in `layers`; the first `five` have all five layers."""
    root = store.roots.ensure(b"/pictures", "images")
    revisions = {name: store.vectors.activate(name, "bench", dim, LAYERS[name].needs) for name, dim in DIMS.items()}
    record_seconds = five_seconds = 0.0
    five_images = 0
    recoded = False
    for start in range(0, images, BATCH):
        count = min(BATCH, images - start)
        batch = list(scanned_files(root.id, start, count))
        wanted = tuple(DIMS) if start < five else layers
        unit = {name: SyntheticLayer(DIMS[name]).rows(start // BATCH, count) for name in wanted}
        began = time.perf_counter()
        ids = [one.image_id or 0 for one in store.images.ingest(batch, float(start))]
        recorded = time.perf_counter()
        for name in wanted:
            store.vectors.put(name, revisions[name], ids, unit[name])
        record_seconds += recorded - began
        if start < five:
            five_seconds += time.perf_counter() - began
            five_images += count
        if not recoded and start >= 4000:
            # The daemon does this once a layer has enough vectors to learn its mean.
            for name in wanted:
                store.vectors.requantize_layer(name)
            recoded = True
    return BuildTimes(record_seconds, five_seconds, five_images)


def scanned_files(root_id: int, start: int, count: int) -> Iterator[ScannedFile]:
    """Images from number `start` on, as if they had been read."""
    chance = np.random.default_rng((5, start))
    words = np.minimum(chance.zipf(1.25, (count, WORDS_PER_PROMPT)), VOCABULARY_SIZE)
    for at, number in enumerate(range(start, start + count)):
        prompt = " ".join(f"w{word}" for word in words[at])
        metadata = ImageMetadata(
            generator="a1111" if number % 3 else "comfyui",
            prompt=prompt,
            negative_prompt="bad hands, blurry",
            seed=str(int(chance.integers(2**63))),
            steps=20 + number % 20,
            cfg=float(3 + number % 7),
            sampler="Heun" if number % 20 == 7 else "Euler a",
            model_name=f"{'pony' if chance.random() < 0.5 else 'juggernaut'}_v{number % 10}",
            loras=(MetadataLora("grain", 0.5),) if number % 1000 == 3 else (),
            created_at=1_600_000_000.0 + 60.0 * number,
            raw=(RawChunk("png:parameters", "utf-8", prompt),),
        )
        content = hashlib.blake2b(str(number).encode(), digest_size=32).digest()
        facts = ImageFacts(content, 1_500_000, "PNG", 1024, 1024 if number % 4 else 1536, 1, metadata)
        stamp = FileStamp(1_500_000, 1_700_000_000 * 10**9 + number, number)
        yield ScannedFile(root_id, b"%06d/%07d.png" % (number // FILES_PER_FOLDER, number), stamp, facts)
