"""Repositories of embedding vectors. A layer is an embedding space; its vectors have unit length."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexd.store.records import Revision, StageInput
from indexd.vector_index.code_index import CodeSource

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class VectorRepository(CodeSource, Protocol):
    """Vectors by layer and image id (region id in the layer of faces). Queries use only the active model revision."""

    def activate(self, layer: str, identity: str, dim: int, stage_input: StageInput) -> int:
        """Make `identity` (vectors of `dim`) the active model revision of a layer; returns its id. Harmless when repeated.

        Images that have the input and no vector of this revision are queued. The vectors of other revisions stay, and
        are used again if their revision is activated again.
        """
        ...

    def active_revision(self, layer: str) -> Revision | None:
        """The active model revision; None before the first."""
        ...

    def put(self, layer: str, revision_id: int, ids: Sequence[int], vectors: Floats) -> None:
        """Store unit vectors (len(ids), dim) and delete their index tasks: one transaction.

        If the revision is not active any more, its vectors are stored and the tasks stay. Raises ValueError for a wrong
        shape or a row that is not of unit length.
        """
        ...

    def nearest(
        self,
        layer: str,
        query: Floats,
        k: int,
        among: Collection[int] | None = None,
        guaranteed_top_k: int | None = None,
    ) -> list[tuple[int, float]]:
        """The `k` ids nearest to a unit vector (dim,) among these (None = all), with exact cosines, best first.

        Few vectors are all compared. Of many, candidates are found by code, at least twice `k`, and more while the best
        `guaranteed_top_k` (None = all `k`) may still change.
        """
        ...

    def get(self, layer: str, image_id: int) -> Floats | None:
        """The vector (dim,) of one image, or None."""
        ...

    def get_many(self, layer: str, ids: Collection[int]) -> tuple[list[int], Floats]:
        """The ids that have a vector, and the vectors (n, dim)."""
        ...

    def scores(self, layer: str, query: Floats, ids: Collection[int]) -> dict[int, float]:
        """The exact cosines, by id; ids without a vector are left out."""
        ...

    def sample(self, layer: str, n: int) -> Floats:
        """At most `n` vectors (m, dim), spread over the layer; the same ones until the layer changes."""
        ...

    def requantize_layer(self, layer: str) -> bool:
        """Compute the mean of a layer when it has enough vectors, and write new codes; returns whether it did.

        Queries and writes go on meanwhile. The next call continues after a killed process.
        """
        ...


class BulkReaderRepository(Protocol):
    """Reads a whole layer in slices. Each slice is a transaction of its own, so concurrent changes may show."""

    def iter_vectors(self, layer: str, among: Collection[int] | None = None) -> Iterator[tuple[Ids, Floats]]:
        """Ids, ascending, and vectors (n, dim) of the active revision, among these images (None = all)."""
        ...

    def present_image_ids(self) -> Ids:
        """The ids of all images with a present file, ascending."""
        ...

    def copy_counts(self) -> dict[int, int]:
        """How many present files an image has, for those with more than one."""
        ...
