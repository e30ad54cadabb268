"""The coarse code of a vector: one bit a dimension, after taking off the layer's mean and turning at random.

CLIP vectors lie in a narrow cone with most of their variance in few directions, so that plain sign bits say little.
Taking off the mean opens the cone, and a fixed random rotation spreads the variance over all bits: the idea of RaBitQ
(Gao and Long, SIGMOD 2024, https://arxiv.org/abs/2405.12497). Hamming distance between codes then ranks well enough
for the best few hundred to be rescored exactly.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# One seed for all: layers of equal length share one rotation in memory (4 MB at 1024).
ROTATION_SEED = 20_261_103


@lru_cache(maxsize=8)
def rotation(seed: int, dim: int) -> Floats:
    """A random orthogonal matrix (dim, dim), float32, the same on every machine for the same seed.

    QR of a Gaussian matrix with the signs of R's diagonal fixed (Mezzadri 2007, https://arxiv.org/abs/math-ph/0609050).
    `RandomState` because its stream is frozen for good (NEP 19), which the newer generators' is not.
    """
    gaussian = np.random.RandomState(seed).standard_normal((dim, dim))
    q, r = np.linalg.qr(gaussian)
    return np.ascontiguousarray(q * np.sign(np.diagonal(r)), dtype=np.float32)


def code_bits(dim: int) -> int:
    """The length of a code in bits: `dim` rounded up to whole bytes."""
    return -(-dim // 8) * 8


def encode(vectors: Floats, mean: Floats | None, seed: int) -> NDArray[np.uint8]:
    """Codes (n, code_bits / 8) of unit vectors (n, dim). `mean` (dim,) None = nothing is taken off yet."""
    centred = vectors if mean is None else vectors - mean
    return np.packbits(centred @ rotation(seed, vectors.shape[1]) > 0, axis=1)
