"""Groups similar images around centres: every member of a group is similar to its centre.

Connected components would chain a whole library into one group: a is similar to b and b to c, but a is not to c. So a
group is one image and the images similar to *it*. The image with the most similar images becomes a centre first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def star_groups(count: int, left: Ids, right: Ids) -> list[list[int]]:
    """Groups of at least two of `count` images from pairs of similar images (each pair once); the centre comes first."""
    ends = np.concatenate([left, right])
    order = np.argsort(ends, kind="stable")
    others = np.concatenate([right, left])[order]
    degrees = np.bincount(ends, minlength=count)
    starts = np.concatenate([[0], np.cumsum(degrees)])
    is_grouped = np.zeros(count, np.bool_)
    groups = []
    for centre in np.argsort(-degrees, kind="stable").tolist():
        if degrees[centre] == 0:
            break
        if is_grouped[centre]:
            continue
        near = others[starts[centre] : starts[centre + 1]]
        near = np.sort(near[~is_grouped[near]])
        if len(near):
            group = [centre, *near.tolist()]
            is_grouped[group] = True
            groups.append(group)
    return groups
