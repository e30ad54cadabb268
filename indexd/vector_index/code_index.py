"""What may answer for the tables of coarse codes, and how the codes of a layer are read in bulk to fill it.

The index in memory lives in the room `search`; here stands only what it must offer, so that the store can ask it first
and tell it of every write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import apsw
import numpy as np
from numpy.typing import NDArray

from indexd.errors import StoreError
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.id_set import IdSet
from indexd.store.vectors.revisions import Coding, VectorKey
from indexd.vector_index.estimate import QueryCode

Codes = NDArray[np.uint8]
Ids = NDArray[np.int64]

# 16 chunks of sqlite-vec hold 16 384 codes: 2 MB a step, which stay in the cache until they are compared. A million codes
# are read and compared in 90 ms so, 64 chunks at a time in 140.
CHUNKS_PER_SLICE = 16

# Measured at a million cone-shaped vectors, 1000 wanted: among 32 000 by 512 signs are .995 of the true best 20 of a text;
# of a picture, all among 2 000.
REFINE_FACTOR = 32
MAX_REFINED = 32_000


@dataclass(frozen=True, slots=True)
class CodeSetId:
    """Which codes: only those of one revision and one generation may be compared."""

    layer: str
    revision_id: int
    generation: int


@dataclass(frozen=True, slots=True)
class CodeSlice:
    """Codes (n, code_bytes) of `ids` (images, or regions in the layer of faces). `last_chunk` is where the next slice goes on."""

    code_set: CodeSetId
    ids: Ids
    codes: Codes
    last_chunk: int


@dataclass(frozen=True, slots=True)
class CandidateLimits:
    """At most the `count` nearest by code: those that may be among the best `sure`, and the nearest `least` (1 or more) in any
    case. All in question when they are no more than `all_up_to`."""

    max_candidates: int
    guaranteed_top_k: int
    min_candidates: int
    exhaustive_up_to: int = 0

    @property
    def refine_limit(self) -> int:
        """How many are looked at finely at most, of those that may roughly be among the best."""
        return max(min(REFINE_FACTOR * self.max_candidates, MAX_REFINED), 4 * self.max_candidates)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be nearest, with estimates of the cosines, greatest first, and their standard deviation; no estimates = all
    there are, in any order."""

    ids: Ids
    estimates: NDArray[np.float32] | None = None
    noise: float = 0.0


class CodeIndex(Protocol):
    """Finds candidates by code and follows the writer. Called from any thread; the three that follow, in commit order.

    They are called after the commit and before the next write begins, so they must be quick and must not write.
    """

    def find(
        self, code_set: CodeSetId, query: QueryCode, limits: CandidateLimits, allowed_ids: IdSet | None
    ) -> Candidates | None:
        """The candidates of a question; None where these codes are not at hand: the caller asks the tables instead."""

    def put(self, code_set: CodeSetId, ids: Ids, codes: Codes) -> None:
        """Codes (n, bytes) of these were written, new or not."""

    def remove(self, key: VectorKey, ids: Ids) -> None:
        """These images (or regions) have no vector any more, in any layer that is kept by `key`."""

    def invalidate(self, layer: str) -> None:
        """The layer compares other codes from now on: another model revision, or codes written anew."""


def code_set_id(coding: Coding) -> CodeSetId:
    """What names the codes that questions use."""
    return CodeSetId(coding.revision.layer, coding.revision.id, coding.generation)


def read_code_slice(connection: Connection, coding: Coding, after_chunk: int) -> CodeSlice | None:
    """The codes of the chunks after this one, CHUNKS_A_SLICE at most; None after the last.

    sqlite-vec's own scan gives a million codes row by row in 5 s; its chunks, read as they lie, take a thirtieth. Their
    layout (bits of validity, int64 ids, codes one after the other) is that of vec0 from 0.1.0 on, and a test compares.
    """
    table = coding.codes_table
    try:
        chunks = connection.execute(
            f"SELECT chunk_id, validity, rowids FROM {table}_chunks WHERE chunk_id > ? ORDER BY chunk_id LIMIT ?",
            (after_chunk, CHUNKS_PER_SLICE),
        ).fetchall()
        # Not joined: the planner would go through all the chunks for each slice.
        vectors = connection.execute(
            f"SELECT rowid, vectors FROM {table}_vector_chunks00 WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (after_chunk, CHUNKS_PER_SLICE),
        ).fetchall()
    except apsw.SQLError as error:
        raise StoreError(f"this version of sqlite-vec keeps its codes in another way ({error})") from error
    if [chunk[0] for chunk in chunks] != [chunk for chunk, _ in vectors]:
        raise StoreError("this version of sqlite-vec keeps its codes in another way (chunks without codes)")
    if not chunks:
        return None
    valid = np.unpackbits(_concat_bytes([chunk[1] for chunk in chunks]), bitorder="little").astype(bool)
    ids = _concat_bytes([chunk[2] for chunk in chunks]).view(np.int64)
    codes = _concat_bytes([codes for _, codes in vectors]).reshape(len(valid), -1)
    if not valid.all():
        ids, codes = ids[valid], codes[valid]
    return CodeSlice(code_set_id(coding), ids, codes, chunks[-1][0])


def _concat_bytes(blobs: list[bytes]) -> Codes:
    return np.frombuffer(b"".join(blobs), dtype=np.uint8)
