"""Exact cosines of candidates, as many as it takes.

How well Hamming distance ranks depends on the question: for a picture among many of its kind the best are far ahead of
the rest; for a text, or in a small library without near neighbours, the differences are smaller than the noise of the
codes. So candidates are scored from the nearest code on, and it is looked how cosines fall with distance and scatter
about that line: when those still to come would have to lie MARGIN deviations above it to be among the best, it is enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.store.code_index import Candidates, Ids
from indexd.store.database import Connection
from indexd.store.embedding import fetch
from indexd.store.revisions import Coding
from indexd.store.values import ids_json

Floats = NDArray[np.float32]

MARGIN = 3.0


def rescored(connection: Connection, coding: Coding, query: Floats, ids: Ids | None) -> tuple[Ids, Floats]:
    """Ids and cosines with `query` (dim,) of those of these images that have a vector; None = of all."""
    found, vectors = fetch(connection, coding, None if ids is None else ids_json(ids.tolist()))
    return np.array(found, dtype=np.int64), vectors @ query


def rescored_as_needed(
    connection: Connection, coding: Coding, query: Floats, near: Candidates, first: int, sure: int
) -> tuple[Ids, Floats]:
    """The same of the first `first` candidates, and of twice as many as long as the best `sure` may still change."""
    if near.distances is None:
        return rescored(connection, coding, query, near.ids)
    ids, scores = rescored(connection, coding, query, near.ids[:first])
    done = first
    while done < len(near.ids) and _may_change(near, done, ids, scores, sure):
        more_ids, more_scores = rescored(connection, coding, query, near.ids[done : 2 * done])
        ids, scores = np.concatenate([ids, more_ids]), np.concatenate([scores, more_scores])
        done *= 2
    return ids, scores


def _may_change(near: Candidates, done: int, ids: Ids, scores: Floats, sure: int) -> bool:
    """Whether candidates from `done` on may be among the best `sure`, judged by the line through those scored so far."""
    assert near.distances is not None
    if len(scores) <= sure:
        return True
    order = np.argsort(near.ids[:done])
    distances = near.distances[order[np.searchsorted(near.ids[:done], ids, sorter=order)]].astype(np.float64)
    away = distances - distances.mean()
    slope = float(away @ scores) / max(float(away @ away), 1e-9)
    expected = float(scores.mean()) + slope * (float(near.distances[done]) - float(distances.mean()))
    scatter = float(np.std(scores - slope * away))
    return expected + MARGIN * scatter > float(np.partition(scores, -sure)[-sure])
