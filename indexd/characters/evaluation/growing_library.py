"""A library of faces of known truth that grows by parts: assigned as they come, then all clustered again, as indexd does it.

For the benches and the toy world: what a clustering and an assignment may do is `identity.reconcile` and `assign.References`,
the same as in the daemon; what people say is kept beside the faces as the index keeps it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from indexd.characters.clustering.hdbscan_clustering import MIN_CLUSTER_SIZE, cluster
from indexd.characters.clustering.vector_file import Floats, Ids
from indexd.characters.evaluation.clustering_metrics import precision_recall
from indexd.characters.match_clusters import NO_CHARACTER, KnownAssignments, reconcile_clusters
from indexd.characters.prototype_matcher import PrototypeMatcher, select_prototype_faces


@dataclass(frozen=True, slots=True)
class GrowthResult:
    """One part. `stable`: of the faces that a clustering had given to a character, the share that kept theirs; `precision`
    and `recall` of the assignment on arrival."""

    stable: float
    precision: float
    recall: float


class GrowingLibrary:
    """`rows` (n, dim) of unit length, `truth` (n,) with -1 for nobody's, and the `character` (n,) of each, 0 for none."""

    def __init__(self, rows: Floats, truth: Ids, min_cluster_size: int = MIN_CLUSTER_SIZE) -> None:
        self.rows, self.truth = rows, truth
        self._min_cluster_size = min_cluster_size
        self.character = np.zeros(len(rows), np.int64)
        self._assigned = np.zeros(len(rows), np.bool_)
        self._confirmed = np.zeros(len(rows), np.bool_)
        self._rejected: set[tuple[int, int]] = set()
        self._kept: set[int] = set()
        self._last = 0
        self._recluster()

    @property
    def labels(self) -> Ids:
        """The grouping as measure.py takes it: -1 for faces that are nobody's."""
        return np.where(self.character > 0, self.character, -1)

    def grow(self, rows: Floats, truth: Ids) -> GrowthResult:
        """Take in a part, then cluster everything."""
        whose = self._majority_characters()
        given = self._prototype_matcher().nearest(rows).character
        expected = np.array([whose.get(one, -1) for one in truth.tolist()])
        precision, recall = precision_recall(expected, np.where(given > 0, given, -1))
        self.rows, self.truth = np.concatenate([self.rows, rows]), np.concatenate([self.truth, truth])
        self.character = np.concatenate([self.character, given])
        self._assigned = np.concatenate([np.zeros_like(self._assigned), given > 0])
        self._confirmed = np.concatenate([self._confirmed, np.zeros(len(rows), np.bool_)])
        before = self.character
        held = (before > 0) & ~self._assigned
        self._recluster()
        return GrowthResult(float((self.character == before)[held].mean()) if held.any() else 1.0, precision, recall)

    def confirm(self, face: int, character: int) -> None:
        """A person says that this face is that character's."""
        self.character[face], self._confirmed[face] = character, True
        self._kept.add(character)

    def reject(self, face: int) -> None:
        """A person says that this face is not its character's."""
        self._rejected.add((face, int(self.character[face])))
        self.character[face] = NO_CHARACTER

    def merge(self, into: int, other: int) -> None:
        """A person says that these two are one."""
        self.character[self.character == other] = into
        self._kept.add(into)

    def split(self, faces: Collection[int]) -> int:
        """A person takes these faces of one character out into a new one; its id."""
        chosen = sorted(faces)
        self._last += 1
        self._kept |= {int(self.character[chosen[0]]), self._last}
        self.character[chosen] = self._last
        return self._last

    def _recluster(self) -> None:
        known = KnownAssignments(self.character, self._confirmed, self._assigned, self._rejected, self._kept)
        after = reconcile_clusters(cluster(self.rows, min_cluster_size=self._min_cluster_size), known)
        self.character = np.where(after < 0, self._last - after, after)
        self._last = max(self._last, int(self.character.max(initial=0)))

    def _prototype_matcher(self) -> PrototypeMatcher:
        references = PrototypeMatcher()
        for one in sorted(set(self.character.tolist()) - {NO_CHARACTER}):
            mine = np.flatnonzero(self.character == one)
            references.set_faces(one, self.rows[select_prototype_faces(mine, self._confirmed[mine])])
        return references

    def _majority_characters(self) -> dict[int, int]:
        """The character that has most faces of each one."""
        found = {}
        for one in set(self.truth.tolist()) - {-1}:
            mine = self.character[(self.truth == one) & (self.character > 0)]
            if len(mine):
                values, counts = np.unique(mine, return_counts=True)
                found[one] = int(values[counts.argmax()])
        return found


def count_broken_corrections(library: GrowingLibrary, parts: Collection[tuple[Floats, Ids]]) -> tuple[int, int]:
    """Say every kind of word against the evidence, let the library grow by `parts`, and count: (broken words, words).

    A confirmed face of somebody else, a rejected face, two characters made one, and one made two; needs four characters.
    """
    sizes = np.bincount(library.character[library.character > 0])
    one, other, third, fourth = np.argsort(-sizes, kind="stable")[:4].tolist()
    faces = {who: np.flatnonzero(library.character == who) for who in (one, other, third, fourth)}
    confirmed, rejected = int(faces[other][0]), int(faces[one][0])
    library.confirm(confirmed, one)
    library.reject(rejected)
    library.merge(third, fourth)
    apart = faces[other][1::2]
    made = library.split(apart.tolist())
    for rows, truth in parts:
        library.grow(rows, truth)
    now = library.character
    kept = [
        now[confirmed] == one,
        now[rejected] != one,
        *(now[faces[third]] == third),
        *(now[faces[fourth]] == third),
        *(now[apart] == made),
        *(now[faces[other][2::2]] == other),
    ]
    return len(kept) - int(sum(kept)), len(kept)
