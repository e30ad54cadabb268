"""Grouping of perceptual hashes and vectors by index, compared with all pairs at a feasible size."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.support.report import print_result
from indexd.duplicates.hash_similarity import NEAR_LIMITS, HashArrays, are_near, proposal_limits
from indexd.duplicates.near_duplicates import near_hash_groups, near_hash_pairs
from indexd.duplicates.similar_images import MAX_EXACT_IMAGES, similar_image_groups
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.store.records import HashedImages, ScannedFile
from indexd.store.sqlite.store import SqliteStore

HASHES_FOR_ALL_PAIRS, HASHES, VECTOR_COUNT, DIM = 20_000, 100_000, 30_000, 1024
COPY_EVERY = 20
IMAGES_PER_PROMPT = 50
THRESHOLD = 0.93


def make_hashes(count: int, seed: int = 1) -> HashedImages:
    """Hashes like those of a real library: fifty images a prompt with one layout, every twentieth a copy of another.

    The bits are signs of frequencies; the prompt contributes half of their strength. Images of one prompt differ in about 90
    of 256 bits.
    """
    chance = np.random.default_rng(seed)
    prompts = chance.standard_normal((count // IMAGES_PER_PROMPT + 1, 256), np.float32)
    tint = chance.integers(0, 256, (len(prompts), 32), np.int16)
    which = np.arange(count) // IMAGES_PER_PROMPT
    bits = prompts[which] + chance.standard_normal((count, 256), np.float32) > 0
    colours = (tint[which] + chance.integers(-20, 21, (count, 32))).clip(0, 255).astype(np.uint8)
    copies = np.arange(COPY_EVERY, count, COPY_EVERY)
    bits[copies] = bits[copies - 1] ^ (chance.random((len(copies), 256)) < 0.03)
    colours[copies] = colours[copies - 1]
    hashes = np.hstack([np.packbits(bits, axis=1), colours])
    return HashedImages(np.arange(count), hashes)


def count_near_pairs(looks: HashArrays) -> int:
    """Count near pairs by comparing all pairs."""
    count, found = len(looks.one_counts), 0
    everyone = np.arange(count)
    for row in range(count - 1):
        others = everyone[row + 1 :]
        found += int(are_near(looks, np.full(len(others), row), others).sum())
    return found


def make_vectors(count: int, seed: int = 2) -> NDArray[np.float32]:
    """Unit vectors in clusters inside a narrow cone; every twentieth is near the previous one."""
    chance = np.random.default_rng(seed)
    decay = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    cone = chance.standard_normal(DIM, np.float32)
    cone *= 1.2 * np.linalg.norm(decay) / np.linalg.norm(cone)
    middles = chance.standard_normal((count // IMAGES_PER_PROMPT + 1, DIM), np.float32) * decay
    which = np.arange(count) // IMAGES_PER_PROMPT
    rows = cone + 0.7 * middles[which] + 0.7 * chance.standard_normal((count, DIM), np.float32) * decay
    near = np.arange(COPY_EVERY, count, COPY_EVERY)
    rows[near] = rows[near - 1] + 0.2 * chance.standard_normal((len(near), DIM), np.float32) * decay
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def filled_store(folder: str, rows: NDArray[np.float32]) -> SqliteStore:
    """An index whose images have these vectors."""
    store = SqliteStore.open(Path(folder) / "index.db")
    root = store.roots.ensure(b"/images", "images").id
    revision = store.vectors.activate("clip_h", "bench", DIM, "image")
    for start in range(0, len(rows), 2000):
        few = rows[start : start + 2000]
        batch = [
            ScannedFile(
                root,
                b"%d.png" % (start + number),
                FileStamp(1, 1, start + number),
                ImageFacts((start + number).to_bytes(32, "big"), 1, "PNG", 1, 1, 1, ImageMetadata()),
            )
            for number in range(len(few))
        ]
        ids = [recorded.image_id or 0 for recorded in store.images.ingest(batch, 1.0)]
        store.vectors.put("clip_h", revision, ids, few)
    return store


def main() -> None:
    few = HashArrays.from_rows(make_hashes(HASHES_FOR_ALL_PAIRS))
    began = time.perf_counter()
    pairs = len(near_hash_pairs(few, NEAR_LIMITS)[0])
    ours = time.perf_counter() - began
    began = time.perf_counter()
    expected = count_near_pairs(few)
    print_result(
        f"near pairs of {HASHES_FOR_ALL_PAIRS} hashes", ours, "s", time.perf_counter() - began, "all pairs (popcount)"
    )
    print_result("  pairs found", pairs, "", expected, "all pairs")
    images = make_hashes(HASHES)
    began = time.perf_counter()
    groups = near_hash_groups(images, proposal_limits(HASHES))
    print_result(f"{HASHES} hashes grouped ({len(groups)} groups)", time.perf_counter() - began, "s", bar="seconds")
    print_result("  largest group", max(map(len, groups)), "images")
    rows = make_vectors(VECTOR_COUNT)
    with tempfile.TemporaryDirectory(prefix="indexd-bench-") as folder, filled_store(folder, rows) as store:
        began = time.perf_counter()
        found = similar_image_groups(store, None, THRESHOLD)
        ours = time.perf_counter() - began
    began = time.perf_counter()
    truth = sum(
        int(np.count_nonzero(np.triu(rows[start : start + 1000] @ rows[start:].T >= THRESHOLD, 1)))
        for start in range(0, VECTOR_COUNT, 1000)
    )
    print_result(
        f"{VECTOR_COUNT} vectors (more than {MAX_EXACT_IMAGES}: by cells)",
        ours,
        "s",
        time.perf_counter() - began,
        "all pairs (float32)",
    )
    print_result("  pairs of groups found", sum(len(group) - 1 for group in found), "", truth, "all pairs")


if __name__ == "__main__":
    main()
