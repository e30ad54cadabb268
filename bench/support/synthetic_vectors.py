"""Synthetic embeddings in the shape of real CLIP ones, and queries to them.

A narrow cone (two random vectors have a cosine of about .6) with clusters of very unequal sizes, and variance that falls
from axis to axis as 1/sqrt(rank). The block number seeds each block of rows, so any part of a library can be rebuilt alone. No
part is isotropic noise, on which every code looks good.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SyntheticVectors = NDArray[np.float32]

# Shares of the squared norm: common direction, cluster, individual part. The first is the mean cosine of two images.
COMMON_SHARE, CLUSTER_SHARE, INDIVIDUAL_SHARE = 0.6, 0.22, 0.18
CLUSTERS = 2000
# A text is far from every image: with this share of an image's individual part its best cosines are about .25.
TEXT_COSINE = 0.5
# Blocks below 0 are not in the library: queries, and images inserted later.
FIRST_BLOCK = -16


@dataclass(frozen=True, slots=True)
class SyntheticLayer:
    """The library of a layer: `rows(block, count)` gives unit vectors, the same for the same numbers."""

    dim: int
    seed: int = 1

    def rows(self, block: int, count: int) -> SyntheticVectors:
        """`count` unit vectors, float32 (count, dim), of the block with this number."""
        chance = np.random.default_rng((self.seed, self.dim, 1, block - FIRST_BLOCK))
        # Squaring a uniform number makes the first clusters large and the last ones tiny.
        cluster = (chance.random(count) ** 2 * CLUSTERS).astype(np.int64)
        common, centres = _common_and_centres(self.seed, self.dim)
        own = chance.standard_normal((count, self.dim), dtype=np.float32) * _axis_deviations(self.dim)
        own *= np.sqrt(INDIVIDUAL_SHARE) * chance.uniform(0.6, 1.4, (count, 1)).astype(np.float32)
        own += centres[cluster]
        own += common
        return normalize_rows(own)

    def image_queries(self, count: int) -> SyntheticVectors:
        """Queries that resemble images, none of them in the library."""
        return self.rows(-1, count)

    def text_queries(self, count: int) -> SyntheticVectors:
        """Queries outside the cone, like texts: little of an image, much of their own direction."""
        chance = np.random.default_rng((self.seed, self.dim, 0, 7))
        common, _ = _common_and_centres(self.seed, self.dim)
        meant = self.rows(-1, count) - common
        aside = normalize_rows(chance.standard_normal((1, self.dim), dtype=np.float32))
        return normalize_rows(TEXT_COSINE * normalize_rows(meant) + np.float32(np.sqrt(1 - TEXT_COSINE**2)) * aside)


@functools.lru_cache(maxsize=8)
def _common_and_centres(seed: int, dim: int) -> tuple[SyntheticVectors, SyntheticVectors]:
    """The common direction (dim,) and the cluster centres (CLUSTERS, dim), scaled to their shares."""
    chance = np.random.default_rng((seed, dim, 0))
    common = normalize_rows(chance.standard_normal((1, dim), dtype=np.float32))[0] * np.float32(np.sqrt(COMMON_SHARE))
    centres = chance.standard_normal((CLUSTERS, dim), dtype=np.float32) * _axis_deviations(dim)
    return common, centres * np.float32(np.sqrt(CLUSTER_SHARE))


def mean_cosine(rows: SyntheticVectors) -> float:
    """Mean cosine of two different rows of (n, dim)."""
    count = len(rows)
    total = rows.sum(axis=0, dtype=np.float64)
    return float((total @ total - count) / (count * (count - 1)))


def normalize_rows(rows: SyntheticVectors) -> SyntheticVectors:
    """The rows scaled to unit length."""
    scaled: SyntheticVectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def _axis_deviations(dim: int) -> SyntheticVectors:
    """Standard deviations by axis, falling as 1/sqrt(rank), of a vector with expected squared norm 1."""
    falling = 1.0 / np.sqrt(np.arange(1, dim + 1))
    return (falling / np.linalg.norm(falling)).astype(np.float32)
