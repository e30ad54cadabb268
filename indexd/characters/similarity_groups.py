"""A character cut into its looks: faces that are at least so alike stay together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats
from indexd.characters.prototypes import centroid

# Average linkage looks at all pairs: 2 000 are 16 MB and a fifth of a second. Of more faces an even part is cut, and the
# others go to the nearest piece.
MAX_LINKED_FACES = 2000


def group_by_similarity(rows: Floats, threshold: float) -> list[NDArray[np.int64]]:
    """The places of the faces (n, dim) in groups whose mean cosine is at least `threshold`, the largest group first."""
    from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]

    count = len(rows)
    if count < 2:
        return [np.arange(count)] if count else []
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_LINKED_FACES)).astype(np.int64))
    some = rows[chosen]
    pairs = np.triu_indices(len(some), 1)
    apart = np.maximum(1 - (some @ some.T)[pairs], 0)
    labels = fcluster(linkage(apart.astype(np.float64), "average"), 1 - threshold, "distance") - 1
    if len(chosen) < count:
        middles = np.stack([centroid(some[labels == one]) for one in range(labels.max() + 1)])
        every = (rows @ middles.T).argmax(axis=1)
        every[chosen] = labels
        labels = every
    groups = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    return sorted(groups, key=lambda group: (-len(group), int(group[0])))
