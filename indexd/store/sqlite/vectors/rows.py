"""The rows of one model revision: exact vectors read in bulk, codes written beside them. Inside the caller's transaction."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import apsw
import numpy as np
from numpy.typing import NDArray

from indexd.store.protocols.vectors import BulkReaderRepository
from indexd.store.records import VectorKey
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.vectors.revisions import Coding, active_coding, get_coding
from indexd.vector_index.quantize import quantize

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
SAMPLE_SEED = 1
# Numbers, 256 KB as float32: they stay in the cache while they are put together.
WIDEN_BATCH = 1 << 16


def read_vectors(connection: Connection, coding: Coding, ids: Collection[int] | Ids | None) -> tuple[list[int], Floats]:
    """Ids and vectors, float32 (n, dim), of those of `ids` that have one; None = all."""
    if ids is None:
        return _to_arrays(
            coding, connection.execute(f"SELECT {coding.key}, vector FROM {coding.vectors_table}").fetchall()
        )
    # As one row: for each row the interpreter is given up and taken back, which beside a busy writer takes up to half a
    # millisecond every time. group_concat adds the bytes of a blob as they are.
    found, vectors = (
        connection.execute(
            f"SELECT group_concat({coding.key}), CAST(group_concat(vector, '') AS BLOB)"
            f" FROM {coding.vectors_table} WHERE {coding.key} IN carray(?)",
            (apsw.carray(np.fromiter(ids, dtype=np.int64, count=len(ids))),),
        ).fetchall()[0]
        if len(ids)
        else (None, None)
    )
    there = [int(one) for one in found.split(",")] if found else []
    return there, half_to_float32(vectors or b"").reshape(len(there), coding.revision.dim)


def read_vector_slice(connection: Connection, coding: Coding, after: int, limit: int) -> tuple[list[int], Floats]:
    """The next `limit` ids above `after`, in order, and their vectors."""
    rows = connection.execute(
        f"SELECT {coding.key}, vector FROM {coding.vectors_table} WHERE {coding.key} > ? ORDER BY {coding.key} LIMIT ?",
        (after, limit),
    ).fetchall()
    return _to_arrays(coding, rows)


def sample_vectors(connection: Connection, coding: Coding, n: int) -> Floats:
    """At most `n` vectors, float32 (m, dim), spread over all ids, the same for the same rows."""
    table, key = coding.vectors_table, coding.key
    if has_at_most(connection, coding, n):
        return read_vectors(connection, coding, None)[1]
    first, last = connection.execute(
        f"SELECT (SELECT min({key}) FROM {table}), (SELECT max({key}) FROM {table})"
    ).fetchall()[0]
    chance = random.Random(SAMPLE_SEED)
    found: dict[int, bytes] = {}
    for _ in range(n):
        # The next row from a random id on: one step in the tree each, where ORDER BY random() would read every vector.
        one, vector = connection.execute(
            f"SELECT {key}, vector FROM {table} WHERE {key} >= ? ORDER BY {key} LIMIT 1",
            (chance.randint(first, last),),
        ).fetchall()[0]
        found[one] = vector
    return _to_arrays(coding, list(found.items()))[1]


def has_at_most(connection: Connection, coding: Coding, count: int) -> bool:
    """Whether the revision has no more than `count` vectors."""
    # Counting all rows would read the whole table: one row is 2 KB.
    rows = connection.execute(f"SELECT 1 FROM {coding.vectors_table} LIMIT ?", (count + 1,)).fetchall()
    return len(rows) <= count


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Vectors ready to be written: `codes` (n, bytes) as `coding` makes them, `blobs` in half precision."""

    coding: Coding
    vectors: Floats
    blobs: list[bytes]
    codes: NDArray[np.uint8]


def prepare_rows(coding: Coding, vectors: Floats) -> VectorRows:
    """Unit vectors (n, dim) with their codes; the costly part of writing them, done before the transaction."""
    blobs = [row.tobytes() for row in vectors.astype(np.float16)]
    return VectorRows(coding, vectors, blobs, quantize(vectors, coding.mean, coding.rotation_seed))


def write_rows(connection: Connection, ids: Sequence[int], rows: VectorRows) -> tuple[Coding, NDArray[np.uint8]]:
    """Store vectors and codes, new or not; the coding as it is by now, and the codes that it compares."""
    now, codes = get_coding(connection, rows.coding.revision.id), rows.codes
    if now.generation != rows.coding.generation:
        codes = quantize(rows.vectors, now.mean, now.rotation_seed)
    connection.executemany(
        f"INSERT OR REPLACE INTO {now.vectors_table} ({now.key}, vector) VALUES (?, ?)",
        zip(ids, rows.blobs, strict=True),
    )
    replace_codes(connection, now.codes_table, now.key, ids, codes)
    if now.next_mean is not None:
        next_codes = quantize(rows.vectors, now.next_mean, now.rotation_seed)
        replace_codes(connection, now.next_codes_table, now.key, ids, next_codes)
    return now, codes


def replace_codes(
    connection: Connection, table: str, key: VectorKey, ids: Sequence[int], codes: NDArray[np.uint8]
) -> None:
    """Write codes (n, bytes), new or not; sqlite-vec has no INSERT OR REPLACE."""
    connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", ((one,) for one in ids))
    connection.executemany(
        f"INSERT INTO {table} ({key}, code) VALUES (?, vec_bit(?))",
        ((one, code.tobytes()) for one, code in zip(ids, codes, strict=True)),
    )


def delete_rows(connection: Connection, coding: Coding, ids: Collection[int]) -> None:
    """Take vectors and codes away; ids without one are ignored."""
    tables = [coding.vectors_table, coding.codes_table]
    if coding.next_mean is not None:
        tables.append(coding.next_codes_table)
    for table in tables:
        connection.executemany(f"DELETE FROM {table} WHERE {coding.key} = ?", ((one,) for one in ids))


def _to_arrays(coding: Coding, rows: Sequence[tuple[int, bytes]]) -> tuple[list[int], Floats]:
    ids, blobs = zip(*rows, strict=True) if rows else ((), ())
    return list(ids), half_to_float32(b"".join(blobs)).reshape(len(ids), coding.revision.dim)


def half_to_float32(halves: bytes) -> Floats:
    """Half-precision numbers as float32 (n,); no infinities, which unit vectors have none of.

    Sign, exponent and mantissa are moved into their places in a float32, whose exponent counts from 127 where that of a
    half counts from 15 (IEEE 754): a factor of 2 ** 112, which puts the smallest ones right as well. Half the time that
    numpy takes without AVX-512.
    """
    bits = np.frombuffer(halves, dtype=np.uint16)
    found = np.empty(len(bits), dtype=np.float32)
    for start in range(0, len(bits), WIDEN_BATCH):
        part = bits[start : start + WIDEN_BATCH]
        into = found[start : start + WIDEN_BATCH].view(np.uint32)
        np.left_shift(part & np.uint16(0x7FFF), 13, out=into, dtype=np.uint32)
        into |= np.left_shift(part & np.uint16(0x8000), 16, dtype=np.uint32)
        np.multiply(into.view(np.float32), np.float32(2.0**112), out=into.view(np.float32))
    return found


# The vectors of a whole layer, in slices, for work that reads every image once.

SLICE_ROWS = 4096


class BulkReader(BulkReaderRepository):
    """Each slice is a read of its own, so that a long walk keeps no snapshot open; what comes or goes meanwhile may show."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def iter_vectors(
        self, layer: str, among: Collection[int] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        wanted = None if among is None else sorted(among)
        after, place = -1, 0
        while True:
            with self._database.read() as connection:
                coding = active_coding(connection, layer)
                if coding is None:
                    return
                if wanted is None:
                    ids, vectors = read_vector_slice(connection, coding, after, SLICE_ROWS)
                else:
                    ids, vectors = read_vectors(connection, coding, wanted[place : place + SLICE_ROWS])
            place += SLICE_ROWS
            if ids:
                after = ids[-1]
                order = np.argsort(ids)
                yield np.asarray(ids, np.int64)[order], vectors[order]
            if not ids if wanted is None else place >= len(wanted):
                return

    def present_image_ids(self) -> NDArray[np.int64]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT DISTINCT image_id FROM file WHERE missing_since IS NULL AND image_id IS NOT NULL ORDER BY image_id"
            )
            return np.fromiter((image_id for (image_id,) in rows), np.int64)

    def copy_counts(self) -> dict[int, int]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT image_id, count(*) FROM file WHERE missing_since IS NULL AND image_id IS NOT NULL"
                " GROUP BY image_id HAVING count(*) > 1 ORDER BY image_id"
            ).fetchall()
        return dict(rows)
