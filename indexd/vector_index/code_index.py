"""The types that a code index, its source and its callers share, and the two protocols between them.

A code set belongs to one embedding space (a layer), one model revision and one generation of codes. Only codes of the
same code set may be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexd.vector_index.estimate import QueryCode

Codes = NDArray[np.uint8]
Ids = NDArray[np.int64]

# Measured at a million vectors in a cone, 1000 results: of an image query's true best 20, all are among the best 2 000 by
# 512 signs; of a text query's, .995 are among the best 32 000.
REFINE_FACTOR = 32
MAX_REFINED = 32_000


@dataclass(frozen=True, slots=True)
class CodeSetId:
    """Identifies a code set. `key` names what its ids identify (a column such as image_id)."""

    layer: str
    revision_id: int
    generation: int
    key: str


@dataclass(frozen=True, slots=True)
class CodeSlice:
    """Codes (n, code_bytes) of `ids` (n,). Pass `last_chunk` to the source to get the next slice."""

    code_set: CodeSetId
    ids: Ids
    codes: Codes
    last_chunk: int


@dataclass(frozen=True, slots=True)
class CandidateLimits:
    """How many candidates a search by code returns.

    It returns at most `max_candidates`: every id that may be among the true best `guaranteed_top_k`, and the nearest
    `min_candidates` (at least 1) in any case. If `exhaustive_up_to` ids or fewer are searched, it returns all of them.
    """

    max_candidates: int
    guaranteed_top_k: int
    min_candidates: int
    exhaustive_up_to: int = 0

    @property
    def refine_limit(self) -> int:
        """How many of the best coarse estimates are estimated again, finely."""
        return max(min(REFINE_FACTOR * self.max_candidates, MAX_REFINED), 4 * self.max_candidates)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The ids that may be nearest. `estimates` are their estimated cosines, in descending order, and `noise` is the
    standard deviation of those; without estimates, `ids` are everything that was searched, in any order."""

    ids: Ids
    estimates: NDArray[np.float32] | None = None
    noise: float = 0.0


class CodeIndex(Protocol):
    """Finds candidates by code and follows the writes of its source. All methods may be called from any thread.

    The source calls `put`, `remove` and `invalidate` in the order of its commits: after the commit and before the next
    write begins. They must return quickly and must not write to the source.
    """

    def find(
        self, code_set: CodeSetId, query: QueryCode, limits: CandidateLimits, allowed_ids: Ids | None
    ) -> Candidates | None:
        """The candidates of a query among `allowed_ids` (sorted, each once; None = all).

        None if the index does not hold this code set; the caller then scans the stored codes.
        """

    def put(self, code_set: CodeSetId, ids: Ids, codes: Codes) -> None:
        """Codes (n, code_bytes) of new or known ids were written."""

    def remove(self, key: str, ids: Ids) -> None:
        """The vectors of these ids were deleted from every layer whose ids are of the kind `key`."""

    def invalidate(self, layer: str) -> None:
        """The layer has another code set from now on: another model revision, or new codes."""


class CodeSource(Protocol):
    """Where a code index reads its codes."""

    def attach(self, index: CodeIndex | None) -> None:
        """Search with `index` and report every write to it; None detaches it."""

    def active_codes(self, layer: str) -> tuple[CodeSetId, int] | None:
        """The code set that queries of the layer use, and its bytes a code; None if the layer has none yet."""

    def code_slice(self, layer: str, after_chunk: int = 0) -> CodeSlice | None:
        """The next slice of the active code set after a chunk; None after the last."""
