"""Fewer dimensions: the strongest axes of the centred vectors, found in a sample, taken for all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats, iter_blocks

# The axes of some tens of thousands are those of all; their covariance then costs as much at any size.
SAMPLE_ROWS = 20_000


def reduce_dimensions(
    rows: NDArray[np.floating], dim: int, seed: int, report_progress: Callable[[str, int, int], None]
) -> Floats:
    """The rows (n, d) on their `dim` strongest axes, float32 (n, dim), centred; d at most `dim`: only centred.

    Distances shrink by what the weak axes held, which in CLIP's space is what a picture has for itself.
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
    """Mean (d,) and covariance (d, d) of a sample of the rows."""
    count, full = rows.shape
    chosen = np.arange(count)
    if count > SAMPLE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(count, SAMPLE_ROWS, replace=False))
    total, products = np.zeros(full), np.zeros((full, full))
    for start in range(0, len(chosen), 4096):
        _, block = next(iter_blocks(rows[chosen[start : start + 4096]]))
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
        report_progress("looking at the axes", min(start + 4096, len(chosen)), len(chosen))
    mean = total / len(chosen)
    return mean.astype(np.float32), products / len(chosen) - np.outer(mean, mean)
