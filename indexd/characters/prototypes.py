"""What a character looks like, in a few vectors: the middles of its looks, more of them when its looks are many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import Floats, normalize_rows

MAX_PROTOTYPES = 4
# A look whose faces lie this near to its middle (mean cosine) is one look.
TIGHT_GROUP_SIMILARITY = 0.85
MIN_GROUP_SIZE = 5
TWO_MEANS_ROUNDS = 12


def compute_prototypes(rows: Floats, max_count: int = MAX_PROTOTYPES) -> Floats:
    """One to `most` unit vectors (k, dim) that stand for these faces (n, dim), n at least 1.

    The loosest look is halved until each is tight, small or they are enough. The same faces give the same references.
    """
    looks = [np.arange(len(rows))]
    closed: set[int] = set()
    while len(looks) < max_count:
        loose = [
            (mean_similarity(rows[look]), place)
            for place, look in enumerate(looks)
            if len(look) >= 2 * MIN_GROUP_SIZE and int(look[0]) not in closed
        ]
        if not loose or min(loose)[0] >= TIGHT_GROUP_SIMILARITY:
            break
        place = min(loose)[1]
        side = two_means(rows[looks[place]])
        first, second = looks[place][~side], looks[place][side]
        if min(len(first), len(second)) < MIN_GROUP_SIZE:
            closed.add(int(looks[place][0]))
            continue
        looks[place : place + 1] = [first, second]
    return np.stack([centroid(rows[look]) for look in looks])


def centroid(rows: Floats) -> Floats:
    """The unit vector in the middle of these rows."""
    return np.asarray(normalize_rows(rows.mean(axis=0)), np.float32)


def mean_similarity(rows: Floats) -> float:
    """The mean cosine of the rows to their middle."""
    return float((rows @ centroid(rows)).mean())


def two_means(rows: Floats) -> NDArray[np.bool_]:
    """On which side of a cut in two each row lies (two-means on the sphere, begun at the two that are farthest apart)."""
    one = rows[int(np.argmin(rows @ centroid(rows)))]
    other = rows[int(np.argmin(rows @ one))]
    side = rows @ other > rows @ one
    for _ in range(TWO_MEANS_ROUNDS):
        if side.all() or not side.any():
            break
        now = rows @ centroid(rows[side]) > rows @ centroid(rows[~side])
        if (now == side).all():
            break
        side = now
    return np.asarray(side, np.bool_)


def nearest_similarity(rows: Floats, prototypes: Floats) -> Floats:
    """The cosine of each row (n, dim) with the nearest of these references (k, dim)."""
    return np.asarray((rows @ prototypes.T).max(axis=1), np.float32)
