"""The code tables of sqlite-vec, read in bulk."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import numpy as np

from indexd.errors import StoreError, StoreUnavailable, is_transient
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.vectors.revisions import Coding
from indexd.vector_index.code_index import Codes, CodeSetId, CodeSlice
from indexd.vector_index.vector_cache import FillFailure

# 16 chunks of sqlite-vec hold 16 384 codes. A slice of 2 MB stays in the processor's cache until it is compared: reading
# and comparing a million codes takes 90 ms, and 140 ms with 64 chunks a slice.
CHUNKS_PER_SLICE = 16


def code_set_id(coding: Coding) -> CodeSetId:
    """Identifies the codes that queries of this revision use."""
    return CodeSetId(coding.revision.layer, coding.revision.id, coding.generation, coding.key)


def read_code_slice(connection: Connection, coding: Coding, after_chunk: int) -> CodeSlice | None:
    """The codes of the next CHUNKS_PER_SLICE chunks after this one; None after the last.

    Selecting a million codes row by row takes 5 s; reading the shadow tables of vec0 takes a thirtieth. Their layout
    (validity bits, int64 ids, concatenated codes) is unchanged since sqlite-vec 0.1.0, and a test checks it. Raises
    StoreError if the layout is another one.
    """
    table = coding.codes_table
    try:
        chunks = connection.execute(
            f"SELECT chunk_id, validity, rowids FROM {table}_chunks WHERE chunk_id > ? ORDER BY chunk_id LIMIT ?",
            (after_chunk, CHUNKS_PER_SLICE),
        ).fetchall()
        # Not a join: the query planner would scan all chunks for each slice.
        vectors = connection.execute(
            f"SELECT rowid, vectors FROM {table}_vector_chunks00 WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (after_chunk, CHUNKS_PER_SLICE),
        ).fetchall()
    except apsw.SQLError as error:
        raise StoreError(f"this version of sqlite-vec stores its codes in another layout ({error})") from error
    if [chunk[0] for chunk in chunks] != [chunk for chunk, _ in vectors]:
        raise StoreError("this version of sqlite-vec stores its codes in another layout (chunks without codes)")
    if not chunks:
        return None
    valid = np.unpackbits(_concat_bytes([chunk[1] for chunk in chunks]), bitorder="little").astype(bool)
    ids = _concat_bytes([chunk[2] for chunk in chunks]).view(np.int64)
    codes = _concat_bytes([codes for _, codes in vectors]).reshape(len(valid), -1)
    if not valid.all():
        ids, codes = ids[valid], codes[valid]
    return CodeSlice(code_set_id(coding), ids, codes, chunks[-1][0])


def iter_code_slices(connection: Connection, coding: Coding) -> Iterator[CodeSlice]:
    """All codes of a revision."""
    last_chunk = 0
    while (piece := read_code_slice(connection, coding, last_chunk)) is not None:
        last_chunk = piece.last_chunk
        yield piece


def classify_fill_failure(error: BaseException) -> FillFailure:
    """What a code index does when it cannot read a layer because of this error."""
    if isinstance(error, (StoreUnavailable, OSError)):
        return FillFailure.RETRY if is_transient(error) else FillFailure.BUG
    return FillFailure.SKIP_LAYER if isinstance(error, StoreError) else FillFailure.BUG


def _concat_bytes(blobs: list[bytes]) -> Codes:
    return np.frombuffer(b"".join(blobs), dtype=np.uint8)
