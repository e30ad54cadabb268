"""Synthetic face vectors with known truth: characters of very unequal sizes in a narrow cone, and faces without a character.

The cone is that of `bench.support.synthetic_vectors` (a common direction, variance that falls as 1/sqrt(rank)). A face is the sum of the
common direction, its character and an individual part, like real embeddings of drawn characters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.support.synthetic_vectors import SyntheticVectors, normalize_rows

# Shares of the squared norm. Two faces of one character have a cosine of about .85, of two characters about .5.
COMMON_SHARE, CHARACTER_SHARE, INDIVIDUAL_SHARE = 0.5, 0.35, 0.15
SMALLEST_CHARACTER = 15
NOISE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class SyntheticFaces:
    """`rows` float32 (n, dim) of unit length; `truth` (n,) is the character of each, -1 = none."""

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
    """`count` faces, by default one character for 250 faces.

    Another `part` gives other faces of the same characters.
    """
    fixed = np.random.default_rng((seed, dim, 0))
    chance = np.random.default_rng((seed, dim, 1, part))
    many = characters if characters is not None else max(count // 250, 4)
    spectrum = np.sqrt(dim) / np.sqrt(np.arange(1, dim + 1)) / np.linalg.norm(1 / np.sqrt(np.arange(1, dim + 1)))
    fall = spectrum.astype(np.float32)
    common = normalize_rows(fixed.standard_normal((1, dim), dtype=np.float32))[0]
    # A character varies along other axes than those that separate characters, so no axis is pure noise.
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
