"""Codes compared with one code, all of them: the nearest of an array, and of a whole table where no index holds it in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexd.store.code_index import Candidates, Codes, read_slice
from indexd.store.database import Connection
from indexd.store.id_set import IdSet
from indexd.store.revisions import Coding


def nearest_rows(code: Codes, codes: Codes, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Distances and places of the `count` nearest of these codes (n, bytes), in any order. The GIL is free meanwhile."""
    # Loaded with the first question: it takes 20 MB, and a daemon that nobody asks needs none of it.
    import faiss

    distances, places = faiss.knn_hamming(code[None, :], codes, min(count, len(codes)), "mc")
    return distances[0], places[0]


def scanned(connection: Connection, coding: Coding, code: Codes, count: int, among: IdSet | None) -> Candidates:
    """The `count` nearest codes of the table (of `among`; None = of all).

    The chunks of vec0 are read as they lie and compared here: 0.15 s a million, where vec0's own `MATCH` takes as long for
    its scan and then time that grows with the square of k (200: 0.23 s, 1000: 2.5 s).
    """
    ids = np.empty(0, dtype=np.int64)
    distances = np.empty(0, dtype=np.int32)
    codes = np.empty((0, len(code)), dtype=np.uint8)
    last_chunk = 0
    while (piece := read_slice(connection, coding, last_chunk)) is not None:
        last_chunk = piece.last_chunk
        here, of_these = piece.ids, piece.codes
        if among is not None:
            there = among.holds(here)
            here, of_these = here[there], of_these[there]
        if not len(here):
            continue
        found, places = nearest_rows(code, of_these, count)
        ids = np.concatenate([ids, here[places]])
        distances = np.concatenate([distances, found])
        codes = np.concatenate([codes, of_these[places]])
        if len(ids) > count:
            kept = np.argpartition(distances, count - 1)[:count]
            ids, distances, codes = ids[kept], distances[kept], codes[kept]
    order = np.argsort(distances, kind="stable")
    return Candidates(ids[order], distances[order], lambda: codes[order])
