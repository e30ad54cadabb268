"""Grouping picture hashes and vectors: through the index, beside comparing all pairs on a size where that is bearable."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import line
from indexd.duplicates.likeness import Looks, are_near
from indexd.duplicates.near import near_groups, near_pairs
from indexd.duplicates.similar import EXACT, similar_groups
from indexd.images.facts import ImageFacts, Metadata
from indexd.store.index import Store
from indexd.store.picture_hashes import HashedPictures
from indexd.store.records import Sighting
from indexd.watch.stamp import FileStamp

BOTH, ALL, VECTORS, DIM = 20_000, 100_000, 30_000, 1024
COPIED = 20
PROMPT_PICTURES = 50
THRESHOLD = 0.93


def made_up(count: int, seed: int = 1) -> HashedPictures:
    """Hashes as a library has them: fifty pictures a prompt that share a layout, every twentieth a copy of another.

    Signs of frequencies, half of their strength from the prompt: pictures of one prompt differ in about 90 of 256 bits.
    """
    chance = np.random.default_rng(seed)
    prompts = chance.standard_normal((count // PROMPT_PICTURES + 1, 256), np.float32)
    tint = chance.integers(0, 256, (len(prompts), 32), np.int16)
    which = np.arange(count) // PROMPT_PICTURES
    bits = prompts[which] + chance.standard_normal((count, 256), np.float32) > 0
    colours = (tint[which] + chance.integers(-20, 21, (count, 32))).clip(0, 255).astype(np.uint8)
    copies = np.arange(COPIED, count, COPIED)
    bits[copies] = bits[copies - 1] ^ (chance.random((len(copies), 256)) < 0.03)
    colours[copies] = colours[copies - 1]
    hashes = np.hstack([np.packbits(bits, axis=1), colours])
    return HashedPictures(np.arange(count), hashes, np.full((count, 3), -1))


def all_pairs(looks: Looks) -> int:
    """How many pairs are near, by comparing each with each."""
    count, found = len(looks.ones), 0
    everyone = np.arange(count)
    for row in range(count - 1):
        others = everyone[row + 1 :]
        found += int(are_near(looks, np.full(len(others), row), others).sum())
    return found


def vectors(count: int, seed: int = 2) -> NDArray[np.float32]:
    """Unit vectors in a narrow cone, in clusters, every twentieth near the one before it."""
    chance = np.random.default_rng(seed)
    decay = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    cone = chance.standard_normal(DIM, np.float32)
    cone *= 1.2 * np.linalg.norm(decay) / np.linalg.norm(cone)
    middles = chance.standard_normal((count // PROMPT_PICTURES + 1, DIM), np.float32) * decay
    which = np.arange(count) // PROMPT_PICTURES
    rows = cone + 0.7 * middles[which] + 0.7 * chance.standard_normal((count, DIM), np.float32) * decay
    near = np.arange(COPIED, count, COPIED)
    rows[near] = rows[near - 1] + 0.2 * chance.standard_normal((len(near), DIM), np.float32) * decay
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def filled(folder: str, rows: NDArray[np.float32]) -> Store:
    """An index whose pictures have these vectors."""
    store = Store.open(Path(folder) / "index.db")
    root = store.roots.ensure(b"/pictures", "images").id
    revision = store.vectors.activate("clip_h", "bench", DIM, "image")
    for start in range(0, len(rows), 2000):
        few = rows[start : start + 2000]
        batch = [
            Sighting(
                root,
                b"%d.png" % (start + number),
                FileStamp(1, 1, start + number),
                ImageFacts((start + number).to_bytes(32, "big"), 1, "PNG", 1, 1, 1, Metadata()),
            )
            for number in range(len(few))
        ]
        ids = [recorded.image_id or 0 for recorded in store.images.record(batch, 1.0)]
        store.vectors.put("clip_h", revision, ids, few)
    return store


def main() -> None:
    """Print every figure."""
    few = Looks.of(made_up(BOTH))
    began = time.perf_counter()
    pairs = len(near_pairs(few)[0])
    ours = time.perf_counter() - began
    began = time.perf_counter()
    expected = all_pairs(few)
    line(f"near pairs of {BOTH} hashes", ours, "s", time.perf_counter() - began, "all pairs (popcount)")
    line("  pairs found", pairs, "", expected, "all pairs")
    pictures = made_up(ALL)
    began = time.perf_counter()
    groups = near_groups(pictures)
    line(f"{ALL} hashes grouped ({len(groups)} groups)", time.perf_counter() - began, "s", bar="seconds")
    line("  largest group", max(map(len, groups)), "pictures")
    rows = vectors(VECTORS)
    with tempfile.TemporaryDirectory(prefix="indexd-bench-") as folder, filled(folder, rows) as store:
        began = time.perf_counter()
        found = similar_groups(store, None, THRESHOLD)
        ours = time.perf_counter() - began
    began = time.perf_counter()
    truth = sum(
        int(np.count_nonzero(np.triu(rows[start : start + 1000] @ rows[start:].T >= THRESHOLD, 1)))
        for start in range(0, VECTORS, 1000)
    )
    line(
        f"{VECTORS} vectors (more than {EXACT}: by cells)",
        ours,
        "s",
        time.perf_counter() - began,
        "all pairs (float32)",
    )
    line("  pairs of groups found", sum(len(group) - 1 for group in found), "", truth, "all pairs")


if __name__ == "__main__":
    main()
