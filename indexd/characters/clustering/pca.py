"""Principal component analysis: the axes are computed from a sample and applied to all vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats, iter_blocks

# The axes of a sample of this size match those of all vectors, and bound the cost of the covariance.
SAMPLE_ROWS = 20_000


def reduce_dimensions(
    rows: NDArray[np.floating], dim: int, seed: int, report_progress: Callable[[str, int, int], None]
) -> Floats:
    """The centred rows (n, d) projected on their `dim` strongest axes, float32 (n, dim); only centred when d <= `dim`.

    The dropped weak axes of CLIP's space mostly hold the details of single images.
    """
    count, full = rows.shape
    mean, covariance = _mean_and_covariance(rows, seed, report_progress)
    axes = np.eye(full, dtype=np.float32)
    if full > dim:
        _, vectors = np.linalg.eigh(covariance)
        axes = vectors[:, : -dim - 1 : -1].astype(np.float32)
    low = np.empty((count, axes.shape[1]), np.float32)
    for where, block in iter_blocks(rows):
        low[where] = (block - mean) @ axes
        report_progress("reducing", where.stop, count)
    return low


def _mean_and_covariance(
    rows: NDArray[np.floating], seed: int, report_progress: Callable[[str, int, int], None]
) -> tuple[Floats, NDArray[np.float64]]:
    """The mean (d,) and covariance (d, d) of a sample."""
    count, full = rows.shape
    chosen = np.arange(count)
    if count > SAMPLE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(count, SAMPLE_ROWS, replace=False))
    total, products = np.zeros(full), np.zeros((full, full))
    for start in range(0, len(chosen), 4096):
        _, block = next(iter_blocks(rows[chosen[start : start + 4096]]))
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
        report_progress("computing the axes", min(start + 4096, len(chosen)), len(chosen))
    mean = total / len(chosen)
    return mean.astype(np.float32), products / len(chosen) - np.outer(mean, mean)
