"""What the picture hash catches and what it lets through: copies of drawn pictures against other seeds and plain ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.drawn import circle, cropped, dark, flat, gradient, portrait, reencoded, scaled, scene
from bench.report import line
from indexd.duplicates.likeness import Looks, are_near
from indexd.images.picture_hash import HASH_BYTES, picture_hash
from indexd.images.thumbnail import shrunk
from indexd.store.picture_hashes import HashedPictures

PROMPTS, SEEDS, OTHERS = 40, 5, 60
THUMBNAIL_PX = 384
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 95": lambda one: reencoded(one, "JPEG", 95),
    "JPEG 75": lambda one: reencoded(one, "JPEG", 75),
    "JPEG 50": lambda one: reencoded(one, "JPEG", 50),
    "WebP 60": lambda one: reencoded(one, "WEBP", 60),
    "50 %": lambda one: scaled(one, 0.5),
    "50 %, JPEG 50": lambda one: reencoded(scaled(one, 0.5), "JPEG", 50),
    "200 %": lambda one: scaled(one, 2.0),
    "cropped by 1 %": lambda one: cropped(one, 0.01),
    "cropped by 2 %": lambda one: cropped(one, 0.02),
    "cropped by 4 %": lambda one: cropped(one, 0.04),
}


def hashes(pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """One row a picture; zeros where it is too plain."""
    rows = [picture_hash(shrunk(one, THUMBNAIL_PX)) or bytes(HASH_BYTES) for one in pictures]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), HASH_BYTES)


def near(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether row i of the one is near row i of the other; too plain pictures are near nothing."""
    both = np.vstack([first, second])
    looks = Looks.of(HashedPictures(np.arange(len(both)), both, np.full((len(both), 3), -1)))
    rows = np.arange(len(first))
    return are_near(looks, rows, rows + len(first)) & first.any(axis=1) & second.any(axis=1)


def main() -> None:
    """Print the share of copies caught and of strangers mistaken."""
    plates = {
        "scene": [scene(prompt, 0) for prompt in range(PROMPTS)],
        "portrait": [portrait(number) for number in range(OTHERS)],
        "disc": [circle(number) for number in range(OTHERS)],
    }
    originals = [one for pictures in plates.values() for one in pictures]
    own = hashes(originals)
    for name, copy in COPIES.items():
        caught = near(own, hashes([copy(one) for one in originals]))
        line(f"copies caught: {name}", 100 * float(caught.mean()), "%")
    seeds = [hashes([scene(prompt, seed) for seed in range(SEEDS)]) for prompt in range(PROMPTS)]
    pairs = [(rows[a], rows[b]) for rows in seeds for a, b in combinations(range(SEEDS), 2)]
    _strangers("other seeds of one prompt", np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))
    families = {
        **{name: hashes(pictures) for name, pictures in plates.items()},
        "gradient": hashes([gradient(number) for number in range(OTHERS)]),
        "flat": hashes([flat(number) for number in range(20)]),
        "dark frame": hashes([dark(number) for number in range(20)]),
    }
    for name, rows in families.items():
        left, right = np.triu_indices(len(rows), 1)
        _strangers(f"different pictures: {name}", rows[left], rows[right])
        line(f"  too plain to be compared: {name}", 100 * float((~rows.any(axis=1)).mean()), "%")
    small = [shrunk(one, THUMBNAIL_PX) for one in originals]
    began = time.perf_counter()
    for one in small:
        picture_hash(one)
    line("hash from a thumbnail", (time.perf_counter() - began) / len(small) * 1000, "ms")


def _strangers(name: str, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
    mistaken = int(near(first, second).sum())
    line(f"mistaken for the same, of {len(first)}: {name}", 100 * mistaken / len(first), "%")


if __name__ == "__main__":
    main()
