"""Cosines of vectors and a query, estimated from codes alone.

Let c be the mean of a layer, x a unit vector, r = x - c the part that is coded and n = |r|. Split the query q into a share a
of the mean and a rest p orthogonal to it: q = a c + p. Then

    <q, x> = <p, r> + a <c, x>     with     <c, x> = (1 + |c|^2 - n^2) / 2

The second part is exact. An image query has nearly all of the mean, a text query almost none. The first part is estimated
from the signs b of r, after the same random rotation of r and p, in two ways:

- coarsely, from the number h of the d signs in which p and r differ: n |p| cos(pi h / d), since each differs with a
  probability of their angle divided by pi (Goemans and Williamson, *JACM* 42, 1995; Charikar, STOC 2002);
- finely, n <p, b> / sqrt(2 d / pi), in which only r is coded (RaBitQ: Gao and Long, SIGMOD 2024; sqrt(2 d / pi) is what
  <r / n, b> is on average). p is quantized to four bits a number, which loses nothing measurable: `p = step / 2 * sum(2^j s_j)`
  with signs s_j, so that four Hamming distances replace d products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.vector_index.quantize import Codes, Floats, rotate

BIT_PLANES = 4
_PLANE_WEIGHTS = (2 ** np.arange(BIT_PLANES)[::-1]).astype(np.float32)

Distances = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class QueryCode:
    """A query, ready to be compared with codes.

    `bit_planes` (4, bytes) are the signs s_j of its rest, most significant first (plane 0 = the signs of the rest), padded to
    words of 8 bytes. `step` is the distance of two levels, `norm` the length of the rest, `mean_share` a, `offset` the
    exact part that is the same for all vectors.
    """

    bit_planes: Codes
    step: float
    norm: float
    mean_share: float
    offset: float
    dim: int

    def fine_estimates(self, distances: Distances, lengths: Floats) -> Floats:
        """Cosines (n,) from the Hamming distances (4, n) of codes and bit planes, and the lengths (n,) of the rests."""
        products = _PLANE_WEIGHTS @ (self.dim - 2 * distances).astype(np.float32)
        products *= np.float32(self.step / 2 / math.sqrt(2 * self.dim / math.pi))
        return lengths * (products - np.float32(self.mean_share / 2) * lengths) + np.float32(self.offset)

    def fine_noise_std(self) -> float:
        """The standard deviation of the error of fine estimates, for a rest of length 1."""
        return self.norm * math.sqrt((math.pi / 2 - 1) / self.dim)


class CoarseEstimator:
    """Coarse estimates from the first `bits` signs of codes."""

    def __init__(self, query: QueryCode, bits: int) -> None:
        self._half_mean_share, self._offset = np.float32(query.mean_share / 2), np.float32(query.offset)
        # |p| cos(pi h / bits) for every distance h.
        self._cosine_by_distance: Floats = (query.norm * np.cos(np.pi * np.arange(bits + 1) / bits)).astype(np.float32)
        self.noise_std = query.norm * (math.pi / 2) / math.sqrt(bits)
        """The standard deviation of the error of coarse estimates, for a rest of length 1, at most."""

    def estimates(self, distances: Distances, lengths: Floats) -> Floats:
        """Cosines (n,) from Hamming distances and the lengths of the rests."""
        return self._combine(self._cosine_by_distance[distances], lengths)

    def max_distance(self, min_estimate: float, shortest: float, longest: float) -> int:
        """The greatest distance at which an estimate may reach `min_estimate` for a length between the two; -1 = none."""
        best = np.maximum(
            *(self._combine(self._cosine_by_distance, np.float32(length)) for length in (shortest, longest))
        )
        if self._half_mean_share > 0:
            peak = np.clip(
                self._cosine_by_distance / (2 * self._half_mean_share), np.float32(shortest), np.float32(longest)
            )
            best = np.maximum(best, self._combine(self._cosine_by_distance, peak))
        return int(np.count_nonzero(best >= min_estimate)) - 1

    def _combine(self, cosines: Floats, lengths: Floats | np.float32) -> Floats:
        estimates: Floats = lengths * (cosines - self._half_mean_share * lengths) + self._offset
        return estimates


def encode_query(query: Floats, mean: Floats | None, seed: int) -> QueryCode:
    """Encode a unit vector (dim,) for codes made with this mean (dim,) and rotation seed."""
    share = length_of_mean = 0.0
    rest = query
    if mean is not None:
        length_of_mean = float(mean @ mean)
        share = float(query @ mean) / max(length_of_mean, 1e-9)
        rest = query - np.float32(share) * mean
    numbers = rotate(rest[None, :], seed)[0]
    levels = 2**BIT_PLANES
    step = max(float(np.abs(numbers).max()) / (levels / 2), 1e-12)
    level = np.clip(np.floor(numbers / step) + levels // 2, 0, levels - 1).astype(np.uint8)
    bits = (level[None, :] >> np.arange(BIT_PLANES, dtype=np.uint8)[::-1, None]) & 1
    return QueryCode(
        bit_planes=np.packbits(np.pad(bits, ((0, 0), (0, -len(query) % 64))), axis=1),
        step=step,
        norm=float(np.linalg.norm(rest)),
        mean_share=share,
        offset=share * (1 + length_of_mean) / 2,
        dim=len(query),
    )
