"""Exact cosines of candidates, as many as it takes.

How well codes rank depends on the question: for a picture among many of its kind the best are far ahead of the rest; for
a text, or in a small library without near neighbours, the differences are smaller than the noise of the codes. So
candidates are scored from the nearest code on, and it is looked how cosines fall with distance and scatter about that
line: when those still to come would have to lie MARGIN deviations above it to be among the best, it is enough. Where it
is not, those still to come are put in order by a finer estimate first (coarse.estimates), and then scored on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.store.coarse import Aim, estimates
from indexd.store.code_index import Candidates, Ids
from indexd.store.database import Connection
from indexd.store.embedding import fetch
from indexd.store.revisions import Coding

Floats = NDArray[np.float32]

MARGIN = 3.0


def rescored(connection: Connection, coding: Coding, query: Floats, ids: Ids | None) -> tuple[Ids, Floats]:
    """Ids and cosines with `query` (dim,) of those of these images that have a vector; None = of all."""
    found, vectors = fetch(connection, coding, ids)
    return np.array(found, dtype=np.int64), vectors @ query


def rescored_as_needed(
    connection: Connection, coding: Coding, query: Floats, aim: Aim, near: Candidates, first: int, most: int, sure: int
) -> tuple[Ids, Floats]:
    """The same of the `first` candidates, and of twice as many, up to `most`, as long as the best `sure` may still change."""
    if near.distances is None:
        return rescored(connection, coding, query, near.ids)
    ids, scores = rescored(connection, coding, query, near.ids[:first])
    away: Floats = near.distances.astype(np.float32)
    if len(near.ids) <= first or not _may_change(near.ids, away, first, ids, scores, sure):
        return ids, scores
    candidates = near.ids
    if near.codes is not None:
        away = -estimates(near.codes(), aim)
        order = np.concatenate([np.arange(first), first + np.argsort(away[first:], kind="stable")])
        candidates, away = near.ids[order], away[order]
    done, end = first, min(most, len(candidates))
    while done < end and _may_change(candidates, away, done, ids, scores, sure):
        more_ids, more_scores = rescored(connection, coding, query, candidates[done : min(2 * done, end)])
        ids, scores = np.concatenate([ids, more_ids]), np.concatenate([scores, more_scores])
        done *= 2
    return ids, scores


def _may_change(candidates: Ids, away: Floats, done: int, ids: Ids, scores: Floats, sure: int) -> bool:
    """Whether candidates from `done` on may be among the best `sure`, judged by the line through those scored so far.

    `away` says how far each of the `candidates` is, in any measure that grows.
    """
    if len(scores) <= sure:
        return True
    order = np.argsort(candidates[:done])
    distances = away[order[np.searchsorted(candidates[:done], ids, sorter=order)]].astype(np.float64)
    off = distances - distances.mean()
    slope = float(off @ scores) / max(float(off @ off), 1e-9)
    expected = float(scores.mean()) + slope * (float(away[done]) - float(distances.mean()))
    scatter = float(np.std(scores - slope * off))
    return expected + MARGIN * scatter > float(np.partition(scores, -sure)[-sure])
