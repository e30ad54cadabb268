"""Made-up face vectors of known truth: characters of very unequal sizes in a narrow cone, and faces that belong to nobody.

The cone is that of `bench.support.synthetic_vectors` (a common direction, variance that falls off as 1/sqrt(rank)); a face is the common
direction, its character, and something of its own, which is what real embeddings of drawn characters look like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.support.synthetic_vectors import SyntheticVectors, normalize_rows

# Shares of the squared length. Two faces of one character have a cosine around .85, of two characters around .5.
COMMON_SHARE, CHARACTER_SHARE, INDIVIDUAL_SHARE = 0.5, 0.35, 0.15
SMALLEST_CHARACTER = 15
NOISE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class SyntheticFaces:
    """`rows` float32 (n, dim) of unit length; `truth` (n,) names the character of each, -1 = nobody's."""

    rows: SyntheticVectors
    truth: NDArray[np.int64]


def make_faces(
    count: int,
    dim: int = 1024,
    *,
    characters: int | None = None,
    seed: int = 1,
    part: int = 0,
    noise_share: float = NOISE_SHARE,
    individual_share: float = INDIVIDUAL_SHARE,
    smallest_character: int = SMALLEST_CHARACTER,
) -> SyntheticFaces:
    """`count` faces; `part` gives other faces of the same characters. One character to 250 faces unless said."""
    fixed = np.random.default_rng((seed, dim, 0))
    chance = np.random.default_rng((seed, dim, 1, part))
    many = characters if characters is not None else max(count // 250, 4)
    spectrum = np.sqrt(dim) / np.sqrt(np.arange(1, dim + 1)) / np.linalg.norm(1 / np.sqrt(np.arange(1, dim + 1)))
    fall = spectrum.astype(np.float32)
    common = normalize_rows(fixed.standard_normal((1, dim), dtype=np.float32))[0]
    # Which axes a character's own look varies along differs from what tells characters apart: no axis is pure noise.
    middles = normalize_rows(fixed.standard_normal((many, dim), dtype=np.float32) * fall)
    weights = fixed.pareto(1.2, many) + 0.3
    nobody = int(count * noise_share)
    free = max(count - nobody - many * smallest_character, 0)
    sizes = smallest_character + np.floor(free * weights / weights.sum()).astype(np.int64)
    truth = np.repeat(np.arange(many), sizes)[: count - nobody]
    truth = np.concatenate([truth, np.full(count - len(truth), -1)])
    chance.shuffle(truth)
    rows = np.empty((count, dim), np.float32)
    for start in range(0, count, 8192):
        here = truth[start : start + 8192]
        own_part = normalize_rows(chance.standard_normal((len(here), dim), dtype=np.float32) * fall)
        own_part *= np.sqrt(individual_share) * chance.uniform(0.7, 1.3, (len(here), 1)).astype(np.float32)
        centre = middles[np.maximum(here, 0)]
        strangers = here < 0
        centre[strangers] = normalize_rows(chance.standard_normal((int(strangers.sum()), dim), dtype=np.float32) * fall)
        rows[start : start + 8192] = normalize_rows(
            np.sqrt(COMMON_SHARE) * common + np.sqrt(CHARACTER_SHARE) * centre + own_part
        )
    return SyntheticFaces(rows, truth.astype(np.int64))
