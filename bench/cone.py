"""Made-up embeddings in the shape that real CLIP ones have, and questions to them.

A narrow cone (two random vectors have a cosine around .6), clusters of very unequal sizes in it, and variance that
falls off from axis to axis as 1/sqrt(rank). Every block of rows is made from its own number, so that any part of a
library of any size can be made again alone. Nothing here is isotropic noise, on which every coarse code looks good.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Shares of the squared length: common direction, cluster, the picture's own. The first is the mean cosine of two pictures.
COMMON, CLUSTER, OWN = 0.6, 0.22, 0.18
CLUSTERS = 2000
# A text lies far from every picture: with this share of what a picture has of its own, its best cosines are around .25.
TEXT_COSINE = 0.5
# Blocks below 0 hold what is not in the library: questions, and what is imported later.
FIRST_BLOCK = -16


@dataclass(frozen=True, slots=True)
class Cone:
    """A layer's library: `rows(block, count)` gives unit vectors, the same for the same numbers."""

    dim: int
    seed: int = 1

    def rows(self, block: int, count: int) -> Floats:
        """`count` unit vectors, float32 (count, dim), of the block with this number."""
        chance = np.random.default_rng((self.seed, self.dim, 1, block - FIRST_BLOCK))
        # The square of a uniform number makes the first clusters large and the last ones tiny.
        cluster = (chance.random(count) ** 2 * CLUSTERS).astype(np.int64)
        common, centres = _fixed(self.seed, self.dim)
        own = chance.standard_normal((count, self.dim), dtype=np.float32) * _spectrum(self.dim)
        own *= np.sqrt(OWN) * chance.uniform(0.6, 1.4, (count, 1)).astype(np.float32)
        own += centres[cluster]
        own += common
        return unit(own)

    def pictures(self, count: int) -> Floats:
        """Questions like the pictures themselves, none of which is in the library."""
        return self.rows(-1, count)

    def texts(self, count: int) -> Floats:
        """Questions from outside the cone, as texts are to pictures: little of a picture, much of a direction of their own."""
        chance = np.random.default_rng((self.seed, self.dim, 0, 7))
        common, _ = _fixed(self.seed, self.dim)
        meant = self.rows(-1, count) - common
        aside = unit(chance.standard_normal((1, self.dim), dtype=np.float32))
        return unit(TEXT_COSINE * unit(meant) + np.float32(np.sqrt(1 - TEXT_COSINE**2)) * aside)


@functools.lru_cache(maxsize=8)
def _fixed(seed: int, dim: int) -> tuple[Floats, Floats]:
    """The common direction (dim,) and the clusters' centres (CLUSTERS, dim), scaled to their shares."""
    chance = np.random.default_rng((seed, dim, 0))
    common = unit(chance.standard_normal((1, dim), dtype=np.float32))[0] * np.float32(np.sqrt(COMMON))
    centres = chance.standard_normal((CLUSTERS, dim), dtype=np.float32) * _spectrum(dim)
    return common, centres * np.float32(np.sqrt(CLUSTER))


def mean_cosine(rows: Floats) -> float:
    """The mean cosine of two different rows of these (n, dim)."""
    count = len(rows)
    total = rows.sum(axis=0, dtype=np.float64)
    return float((total @ total - count) / (count * (count - 1)))


def unit(rows: Floats) -> Floats:
    """The rows at length one."""
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def _spectrum(dim: int) -> Floats:
    """Deviations by axis, falling as 1/sqrt(rank), of a vector whose expected squared length is 1."""
    falling = 1.0 / np.sqrt(np.arange(1, dim + 1))
    return (falling / np.linalg.norm(falling)).astype(np.float32)
