"""Rewrites the coarse codes of a layer around its mean, while searches and writes continue.

The new codes grow in a table of their own, slice by slice. Meanwhile writers fill both tables, and searches use the old one.
One transaction then swaps them. The `revision` row stores the progress, so the next process continues after a kill.
"""

from __future__ import annotations

import numpy as np

from indexd.store.sqlite.database import Database
from indexd.store.sqlite.vectors.revisions import Coding, create_codes_table, get_coding
from indexd.store.sqlite.vectors.rows import has_at_most, read_vector_slice, replace_codes, sample_vectors
from indexd.vector_index.quantize import quantize

MIN_VECTORS_FOR_MEAN = 1000
MEAN_SAMPLE = 10_000
SLICE_VECTORS = 1000


def requantize(database: Database, revision_id: int) -> bool:
    """Learn the mean if it is time, and carry the rewriting to its end; True when the codes were exchanged."""
    if not _begin(database, revision_id):
        return False
    while _next_slice(database, revision_id):
        pass
    return True


def _begin(database: Database, revision_id: int) -> bool:
    """Whether there is something to rewrite; makes the table for it unless an earlier process did."""
    with database.read() as connection:
        coding = get_coding(connection, revision_id)
        if coding.next_mean is not None:
            return True
        if coding.mean is not None or has_at_most(connection, coding, MIN_VECTORS_FOR_MEAN - 1):
            return False
        mean = sample_vectors(connection, coding, MEAN_SAMPLE).mean(axis=0, dtype=np.float64).astype(np.float32)
    with database.write() as connection:
        create_codes_table(connection, coding.next_codes_table, coding.key, coding.revision.dim)
        connection.execute(
            "UPDATE revision SET next_mean = ?, requantized_up_to = 0 WHERE id = ?", (mean.tobytes(), revision_id)
        )
    return True


def _next_slice(database: Database, revision_id: int) -> bool:
    """Rewrite one slice; False when there was none left and the new codes took their place."""
    with database.read() as connection:
        coding = get_coding(connection, revision_id)
        ids, vectors = read_vector_slice(connection, coding, coding.requantized_up_to, SLICE_VECTORS)
    if ids:
        codes = quantize(vectors, coding.next_mean, coding.rotation_seed)
        with database.write() as connection:
            replace_codes(connection, coding.next_codes_table, coding.key, ids, codes)
            connection.execute("UPDATE revision SET requantized_up_to = ? WHERE id = ?", (ids[-1], revision_id))
        return True
    _switch_codes(database, coding)
    return False


def _switch_codes(database: Database, coding: Coding) -> None:
    with database.write() as connection:
        # What was put since the last slice is in both tables already: writers fill both.
        connection.execute(
            "UPDATE revision SET mean = next_mean, next_mean = NULL, requantized_up_to = 0, generation = generation + 1 WHERE id = ?",
            (coding.revision.id,),
        )
        connection.execute(f"DROP TABLE {coding.codes_table}")
