"""What a character looks like, in a few vectors: the middles of its looks, more of them when its looks are many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.characters.vectors import Floats, unit

MOST_REFERENCES = 4
# A look whose faces lie this near to its middle (mean cosine) is one look.
ONE_LOOK = 0.85
SMALLEST_LOOK = 5
ROUNDS = 12


def references(rows: Floats, most: int = MOST_REFERENCES) -> Floats:
    """One to `most` unit vectors (k, dim) that stand for these faces (n, dim), n at least 1.

    The loosest look is halved until each is tight, small or they are enough. The same faces give the same references.
    """
    looks = [np.arange(len(rows))]
    closed: set[int] = set()
    while len(looks) < most:
        loose = [
            (closeness(rows[look]), place)
            for place, look in enumerate(looks)
            if len(look) >= 2 * SMALLEST_LOOK and int(look[0]) not in closed
        ]
        if not loose or min(loose)[0] >= ONE_LOOK:
            break
        place = min(loose)[1]
        side = halves(rows[looks[place]])
        first, second = looks[place][~side], looks[place][side]
        if min(len(first), len(second)) < SMALLEST_LOOK:
            closed.add(int(looks[place][0]))
            continue
        looks[place : place + 1] = [first, second]
    return np.stack([middle(rows[look]) for look in looks])


def middle(rows: Floats) -> Floats:
    """The unit vector in the middle of these rows."""
    return np.asarray(unit(rows.mean(axis=0)), np.float32)


def closeness(rows: Floats) -> float:
    """The mean cosine of the rows to their middle."""
    return float((rows @ middle(rows)).mean())


def halves(rows: Floats) -> NDArray[np.bool_]:
    """On which side of a cut in two each row lies (two-means on the sphere, begun at the two that are farthest apart)."""
    one = rows[int(np.argmin(rows @ middle(rows)))]
    other = rows[int(np.argmin(rows @ one))]
    side = rows @ other > rows @ one
    for _ in range(ROUNDS):
        if side.all() or not side.any():
            break
        now = rows @ middle(rows[side]) > rows @ middle(rows[~side])
        if (now == side).all():
            break
        side = now
    return np.asarray(side, np.bool_)


def closest(rows: Floats, known: Floats) -> Floats:
    """The cosine of each row (n, dim) with the nearest of these references (k, dim)."""
    return np.asarray((rows @ known.T).max(axis=1), np.float32)
