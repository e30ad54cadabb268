"""The normal numbers of an NVIDIA GPU's generator, computed on the CPU: Philox 4x32 and the Box-Muller transform.

Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), ten rounds. torch gives number i of call k the
counter (k, 0, i, 0) and the seed as key, and makes a normal number of the first two words. That holds while a GPU has a thread
for each number, which is 43 multiprocessors of 1536 threads for 1024x1024 pixels; smaller GPUs draw in another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
# The golden ratio and sqrt(3) - 1, as shares of 2^32: added to the key after every round.
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORD = 2**32
_MASK = _WORD - 1
# curand's constant has the precision of float32.
_TWO_PI = float(np.float32(2 * math.pi))


def philox_4x32(counters: Words, key: tuple[int, int]) -> Words:
    """Four random words (4, n) for each of n counters (4, n)."""
    first, second, third, fourth = (counters[word].astype(np.uint64) for word in range(4))
    low_key, high_key = key
    mask, shift = np.uint64(_MASK), np.uint64(32)
    for _ in range(_ROUNDS):
        left, right = first * np.uint64(_MULTIPLIERS[0]), third * np.uint64(_MULTIPLIERS[1])
        first, second, third, fourth = (
            (right >> shift) ^ second ^ np.uint64(low_key),
            right & mask,
            (left >> shift) ^ fourth ^ np.uint64(high_key),
            left & mask,
        )
        low_key, high_key = (low_key + _KEY_STEPS[0]) & _MASK, (high_key + _KEY_STEPS[1]) & _MASK
    return np.stack([first, second, third, fourth]).astype(np.uint32)


class CudaNormals:
    """What `torch.randn` gives on a GPU, call after call, from a generator seeded with `seed` (0 .. 2**64 - 1)."""

    def __init__(self, seed: int) -> None:
        self._key = seed & _MASK, seed >> 32
        self._calls = 0

    def randn(self, shape: Sequence[int]) -> torch.Tensor:
        """The next tensor of unit normal numbers, float32, on the CPU."""
        count = math.prod(shape)
        counters = np.zeros((4, count), np.uint32)
        counters[0] = self._calls
        counters[2] = np.arange(count, dtype=np.uint32)
        self._calls += 1
        radius, angle = ((word + 0.5) / _WORD for word in philox_4x32(counters, self._key)[:2])
        normal = np.sqrt(-2 * np.log(radius)) * np.sin(_TWO_PI * angle)
        return torch.from_numpy(normal.astype(np.float32)).reshape(tuple(shape))
