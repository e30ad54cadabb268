"""Recall and precision of the perceptual hash: copies of drawn images against other seeds and plain images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.support.report import print_result
from bench.support.synthetic_images import (
    circle_image,
    crop_edges,
    dark_image,
    flat_image,
    gradient_image,
    portrait_image,
    reencode,
    rescale,
    scene_image,
)
from indexd.duplicates.hash_similarity import HashArrays, are_near, proposal_limits
from indexd.images.perceptual_hash import HASH_BYTES, compute_perceptual_hash
from indexd.images.thumbnail import shrink_image
from indexd.store.records import HashedImages

PROMPTS, SEEDS, UNRELATED = 40, 5, 60
THUMBNAIL_PX = 384
COPY_METHODS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 95": lambda one: reencode(one, "JPEG", 95),
    "JPEG 75": lambda one: reencode(one, "JPEG", 75),
    "JPEG 50": lambda one: reencode(one, "JPEG", 50),
    "WebP 60": lambda one: reencode(one, "WEBP", 60),
    "50 %": lambda one: rescale(one, 0.5),
    "50 %, JPEG 50": lambda one: reencode(rescale(one, 0.5), "JPEG", 50),
    "200 %": lambda one: rescale(one, 2.0),
    "cropped by 1 %": lambda one: crop_edges(one, 0.01),
    "cropped by 2 %": lambda one: crop_edges(one, 0.02),
    "cropped by 4 %": lambda one: crop_edges(one, 0.04),
}


def hashes(images: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """One row for each image; zeros where the image is too plain."""
    rows = [compute_perceptual_hash(shrink_image(one, THUMBNAIL_PX)) or bytes(HASH_BYTES) for one in images]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), HASH_BYTES)


def are_rows_near(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether row i of one is near row i of the other. Too plain images are near nothing."""
    both = np.vstack([first, second])
    looks = HashArrays.from_rows(HashedImages(np.arange(len(both)), both))
    rows = np.arange(len(first))
    return (
        are_near(looks, rows, rows + len(first), proposal_limits(len(first))) & first.any(axis=1) & second.any(axis=1)
    )


def main() -> None:
    """Print the share of copies found and of false matches."""
    plates = {
        "scene": [scene_image(prompt, 0) for prompt in range(PROMPTS)],
        "portrait": [portrait_image(number) for number in range(UNRELATED)],
        "disc": [circle_image(number) for number in range(UNRELATED)],
    }
    originals = [one for images in plates.values() for one in images]
    own = hashes(originals)
    for name, copy in COPY_METHODS.items():
        caught = are_rows_near(own, hashes([copy(one) for one in originals]))
        print_result(f"copies caught: {name}", 100 * float(caught.mean()), "%")
    seeds = [hashes([scene_image(prompt, seed) for seed in range(SEEDS)]) for prompt in range(PROMPTS)]
    pairs = [(rows[a], rows[b]) for rows in seeds for a, b in combinations(range(SEEDS), 2)]
    _print_false_matches("other seeds of one prompt", np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))
    families = {
        **{name: hashes(images) for name, images in plates.items()},
        "gradient": hashes([gradient_image(number) for number in range(UNRELATED)]),
        "flat": hashes([flat_image(number) for number in range(20)]),
        "dark frame": hashes([dark_image(number) for number in range(20)]),
    }
    for name, rows in families.items():
        left, right = np.triu_indices(len(rows), 1)
        _print_false_matches(f"different images: {name}", rows[left], rows[right])
        print_result(f"  too plain to be compared: {name}", 100 * float((~rows.any(axis=1)).mean()), "%")
    small = [shrink_image(one, THUMBNAIL_PX) for one in originals]
    began = time.perf_counter()
    for one in small:
        compute_perceptual_hash(one)
    print_result("hash from a thumbnail", (time.perf_counter() - began) / len(small) * 1000, "ms")


def _print_false_matches(name: str, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
    matches = int(are_rows_near(first, second).sum())
    print_result(f"false matches of {len(first)}: {name}", 100 * matches / len(first), "%")


if __name__ == "__main__":
    main()
