"""The rows of one model revision: exact vectors read in bulk, codes written beside them. Inside the caller's transaction."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.store.database import Connection
from indexd.store.revisions import Coding

Floats = NDArray[np.float32]
SAMPLE_SEED = 1


def fetch(connection: Connection, coding: Coding, ids: str | None) -> tuple[list[int], Floats]:
    """Ids and vectors, float32 (n, dim), of the images in `ids` (a JSON list) that have one; None = of all images."""
    if ids is None:
        rows = connection.execute(f"SELECT image_id, vector FROM {coding.vectors_table}").fetchall()
    else:
        rows = connection.execute(
            f"SELECT image_id, vector FROM {coding.vectors_table} WHERE image_id IN (SELECT value FROM json_each(?))",
            (ids,),
        ).fetchall()
    return _split(coding, rows)


def fetch_slice(connection: Connection, coding: Coding, after: int, limit: int) -> tuple[list[int], Floats]:
    """The next `limit` ids above `after`, in order, and their vectors."""
    rows = connection.execute(
        f"SELECT image_id, vector FROM {coding.vectors_table} WHERE image_id > ? ORDER BY image_id LIMIT ?",
        (after, limit),
    ).fetchall()
    return _split(coding, rows)


def sample(connection: Connection, coding: Coding, n: int) -> Floats:
    """At most `n` vectors, float32 (m, dim), spread over all ids, the same for the same rows."""
    table = coding.vectors_table
    if at_most(connection, coding, n):
        return fetch(connection, coding, None)[1]
    first, last = connection.execute(
        f"SELECT (SELECT min(image_id) FROM {table}), (SELECT max(image_id) FROM {table})"
    ).fetchall()[0]
    chance = random.Random(SAMPLE_SEED)
    found: dict[int, bytes] = {}
    for _ in range(n):
        # The next row from a random id on: one step in the tree each, where ORDER BY random() would read every vector.
        image_id, vector = connection.execute(
            f"SELECT image_id, vector FROM {table} WHERE image_id >= ? ORDER BY image_id LIMIT 1",
            (chance.randint(first, last),),
        ).fetchall()[0]
        found[image_id] = vector
    return _split(coding, list(found.items()))[1]


def at_most(connection: Connection, coding: Coding, count: int) -> bool:
    """Whether the revision has no more than `count` vectors."""
    # Counting all rows would read the whole table: one row is 2 KB.
    rows = connection.execute(f"SELECT 1 FROM {coding.vectors_table} LIMIT ?", (count + 1,)).fetchall()
    return len(rows) <= count


def replace_codes(connection: Connection, table: str, ids: Sequence[int], codes: NDArray[np.uint8]) -> None:
    """Write the codes (n, bytes) of images, new or not; sqlite-vec has no INSERT OR REPLACE."""
    connection.executemany(f"DELETE FROM {table} WHERE image_id = ?", ((image_id,) for image_id in ids))
    connection.executemany(
        f"INSERT INTO {table} (image_id, code) VALUES (?, vec_bit(?))",
        ((image_id, code.tobytes()) for image_id, code in zip(ids, codes, strict=True)),
    )


def remove(connection: Connection, coding: Coding, ids: Collection[int]) -> None:
    """Take the vectors and codes of images away; images without one are ignored."""
    tables = [coding.vectors_table, coding.codes_table]
    if coding.next_mean is not None:
        tables.append(coding.next_codes_table)
    for table in tables:
        connection.executemany(f"DELETE FROM {table} WHERE image_id = ?", ((image_id,) for image_id in ids))


def _split(coding: Coding, rows: Sequence[tuple[int, bytes]]) -> tuple[list[int], Floats]:
    ids, blobs = zip(*rows, strict=True) if rows else ((), ())
    halves = np.frombuffer(b"".join(blobs), dtype=np.float16)
    return list(ids), halves.reshape(len(ids), coding.revision.dim).astype(np.float32)
