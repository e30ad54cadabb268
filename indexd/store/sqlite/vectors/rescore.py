"""Exact cosines of candidates, as many as it takes.

The accuracy of codes depends on the query. For an image among many similar ones, the best hits are far ahead of the rest.
For a text, or in a small library without near neighbours, the differences are smaller than the noise of the estimates. So
candidates are scored in the order of their estimates, until a remaining one would have to lie MARGIN standard deviations
above its estimate to be among the best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.vectors.revisions import Coding
from indexd.store.sqlite.vectors.rows import read_vectors
from indexd.vector_index.code_index import Candidates, Ids

Floats = NDArray[np.float32]

MARGIN_STD = 2.0
# Scored at once, before it is looked whether it is enough.
RESCORE_STEP = 64
# Read at once. Their 96 KB in half precision are put together in memory that was just used; of 2 MB, the system would
# have to find and clear every page anew, which takes as long as reading them.
READ_BATCH = 48


def rescore(connection: Connection, coding: Coding, query: Floats, ids: Ids | None) -> tuple[Ids, Floats]:
    """Ids and cosines with `query` (dim,) of those of these images that have a vector; None = of all."""
    if ids is None:
        found, vectors = read_vectors(connection, coding, None)
        return np.array(found, dtype=np.int64), vectors @ query
    there: list[int] = []
    scores = np.empty(len(ids), dtype=np.float32)
    for start in range(0, len(ids), READ_BATCH):
        found, vectors = read_vectors(connection, coding, ids[start : start + READ_BATCH])
        scores[len(there) : len(there) + len(found)] = vectors @ query
        there += found
    return np.array(there, dtype=np.int64), scores[: len(there)]


def rescore_adaptively(
    connection: Connection, coding: Coding, query: Floats, near: Candidates, least: int, most: int, sure: int
) -> tuple[Ids, Floats]:
    """The same of the nearest candidates, up to `most`: of as many as it takes for at least so many that have a vector, and
    as long as the best `sure` of those may still change."""
    if near.estimates is None:
        return rescore(connection, coding, query, near.ids)
    ids, scores = rescore(connection, coding, query, near.ids[:least])
    done, end = least, min(most, len(near.ids))
    while done < end and (
        len(scores) < least or near.estimates[done] + MARGIN_STD * near.noise > np.partition(scores, -sure)[-sure]
    ):
        more_ids, more_scores = rescore(connection, coding, query, near.ids[done : min(done + RESCORE_STEP, end)])
        ids, scores = np.concatenate([ids, more_ids]), np.concatenate([scores, more_scores])
        done += RESCORE_STEP
    return ids, scores
