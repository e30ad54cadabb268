"""A set of image ids as a sorted array: the result of a filter on a million images, without a million Python objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set

import numpy as np
from numpy.typing import NDArray

from indexd.vector_index.code_scan import membership_mask

# From one id in so many on, sorting is quicker than a list of all.
MAX_SPARSITY = 200


class IdSet(Set[int]):
    """An immutable set of ids; equal to any other set of the same ids. `array` is int64, sorted, each id once."""

    __slots__ = ("array",)

    def __init__(self, ids: Collection[int] | NDArray[np.int64]) -> None:
        if not isinstance(ids, np.ndarray):
            ids = np.fromiter(ids, dtype=np.int64, count=len(ids))
        rises = bool(np.all(ids[1:] > ids[:-1]))
        self.array: NDArray[np.int64] = ids if rises else _sorted(ids)

    @classmethod
    def of(cls, ids: Collection[int]) -> IdSet:
        """The ids as such a set; itself when it is one."""
        return ids if isinstance(ids, IdSet) else cls(ids)

    @classmethod
    def _from_iterable(cls, it: Iterable[int]) -> IdSet:  # type: ignore[override]
        return cls(list(it))

    def membership_mask(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these ids are in the set."""
        return membership_mask(self.array, ids)

    def __contains__(self, image_id: object) -> bool:
        if not isinstance(image_id, int):
            return False
        at = int(np.searchsorted(self.array, image_id))
        return at < len(self.array) and int(self.array[at]) == image_id

    def __eq__(self, other: object) -> bool:
        if isinstance(other, IdSet):
            return np.array_equal(self.array, other.array)
        return super().__eq__(other)

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return f"IdSet({self.array.tolist()!r})"


def _sorted(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ids in order, each once. Where they lie close together they are ticked off in a list of all: half a million of a
    million in 2 ms, where sorting takes 75."""
    last = int(ids.max())
    if ids.min() < 0 or last > MAX_SPARSITY * len(ids):
        return np.unique(ids)
    there = np.zeros(last + 1, dtype=bool)
    there[ids] = True
    return np.flatnonzero(there)
