"""How well faces were put together, where the truth is known: for the benches, the tests and the toy world."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def adjusted_rand_index(truth: Labels, labels: Labels) -> float:
    """The adjusted Rand index of two groupings (Hubert and Arabie, "Comparing partitions", J. Classification 2, 1985).

    Nobody's faces (-1) count as one more group on both sides.
    """
    table = _contingency_table(truth, labels)
    pairs, rows, columns = (
        _pair_counts(table).sum(),
        _pair_counts(table.sum(axis=1)).sum(),
        _pair_counts(table.sum(axis=0)).sum(),
    )
    expected = rows * columns / max(_pair_counts(np.array(float(len(truth)))), 1.0)
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def over_merge_rate(truth: Labels, labels: Labels) -> float:
    """Of the pairs that were put together, the share that are not the same one. Faces of nobody are alike to none."""
    put = labels >= 0
    if not put.any():
        return 0.0
    known = put & (truth >= 0)
    together = _pair_counts(np.bincount(labels[put]).astype(np.float64)).sum()
    right = _pair_counts(_contingency_table(truth[known], labels[known])).sum() if known.any() else 0.0
    return float(1 - right / together) if together else 0.0


def precision_recall(truth: Labels, given: Labels) -> tuple[float, float]:
    """Of the faces that were given to a character the share that are its own, and of all that have one the share given it."""
    right = float(((given == truth) & (truth >= 0)).sum())
    return right / max(int((given >= 0).sum()), 1), right / max(int((truth >= 0).sum()), 1)


def _contingency_table(one: Labels, other: Labels) -> NDArray[np.float64]:
    _, left = np.unique(one, return_inverse=True)
    _, right = np.unique(other, return_inverse=True)
    width = int(right.max(initial=-1)) + 1
    counts = np.bincount(left * width + right, minlength=(int(left.max(initial=-1)) + 1) * width)
    return counts.reshape(-1, width).astype(np.float64)


def _pair_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts * (counts - 1) / 2)
