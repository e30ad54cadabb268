"""Character ids and corrections survive repeated clusterings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexd.characters.clustering.hdbscan_clustering import cluster
from indexd.characters.evaluation.clustering_metrics import adjusted_rand_index, over_merge_rate, precision_recall
from indexd.characters.match_clusters import KnownAssignments, reconcile_clusters
from indexd.characters.prototype_matcher import PrototypeMatcher
from tests.unit.characters.labelled_faces import DIM, faces, names_of

NO_ONES = np.zeros(0, np.int64)


@dataclass
class Growing:
    """A library in arrays: as the index keeps it, but without one."""

    rows: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, DIM), np.float32))
    truth: NDArray[np.int64] = field(default_factory=lambda: NO_ONES.copy())
    character: NDArray[np.int64] = field(default_factory=lambda: NO_ONES.copy())
    assigned: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    confirmed: dict[int, int] = field(default_factory=dict)
    rejected: set[tuple[int, int]] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    last: int = 0

    def add(self, count: int, part: int) -> NDArray[np.int64]:
        """New faces, given to characters at once; whom they were given to."""
        new = faces(count, part)
        references = PrototypeMatcher()
        for one in sorted(set(self.character.tolist()) - {0}):
            references.set_faces(one, self.rows[self.character == one])
        given = references.nearest(new.rows).character
        self.rows = np.concatenate([self.rows, new.rows])
        self.truth = np.concatenate([self.truth, new.truth])
        self.character = np.concatenate([self.character, given])
        self.assigned = np.concatenate([self.assigned, given > 0])
        return given

    def recluster(self) -> None:
        confirmed = np.isin(np.arange(len(self.rows)), list(self.confirmed))
        known = KnownAssignments(self.character, confirmed, self.assigned, self.rejected, self.kept)
        after = reconcile_clusters(cluster(self.rows), known)
        self.assigned &= after == self.character
        for fresh in range(1, -int(after.min(initial=0)) + 1):
            self.last += 1
            after[after == -fresh] = self.last
        self.character = after


def test_ids_and_corrections_survive_ten_clusterings_with_a_tenth_of_new_faces_each() -> None:
    library = Growing()
    library.add(500, 0)
    library.recluster()
    ids = names_of(library.character, library.truth)
    assert len(set(ids.values())) == 8
    # A person merges 0 and 1, takes three of 2's faces out for good, and confirms a stranger as 3's.
    library.character[library.character == ids[1]] = ids[0]
    out = np.flatnonzero(library.character == ids[2])[:3]
    library.character[out] = 0
    library.rejected |= {(int(one), ids[2]) for one in out}
    stranger = int(np.flatnonzero((library.truth < 0) & (library.character == 0))[0])
    library.character[stranger], library.confirmed[stranger] = ids[3], ids[3]
    library.kept |= {ids[0], ids[3]}
    merged = library.truth == 1
    stable, scores = [], []
    for round_number in range(1, 11):
        before = len(library.rows)
        given = library.add(before // 10, round_number)
        truth = np.array([ids.get(one, 0) for one in library.truth[before:].tolist()])
        truth[library.truth[before:] == 1] = ids[0]
        truth[truth == 0] = -1
        scores.append(precision_recall(truth, np.where(given > 0, given, -1)))
        was = library.character.copy()
        library.recluster()
        held = was[:before] > 0
        stable.append(float((library.character[:before] == was[:before])[held].mean()))
        assert not any(library.character[face] == one for face, one in library.rejected)
        assert library.character[stranger] == ids[3]
        merged = library.truth == 1
        assert not (set(library.character[merged].tolist()) - {0, ids[0]})
    assert min(stable) >= 0.99
    assert min(precision for precision, _ in scores) >= 0.98
    assert np.mean([recall for _, recall in scores]) >= 0.9
    united = np.where(library.truth == 1, 0, library.truth)
    labels = np.where(library.character > 0, library.character, -1)
    assert adjusted_rand_index(united, labels) >= 0.97
    assert over_merge_rate(united, labels) <= 0.02
    now = names_of(library.character, library.truth)
    assert all(now[one] == ids[one] for one in (2, 3, 4, 5, 6, 7))


def known(character: list[int], kept: set[int] | None = None, **given: object) -> KnownAssignments:
    zeros = np.zeros(len(character), np.bool_)
    fields: dict[str, object] = {"confirmed": zeros, "assigned": zeros, **given}
    return KnownAssignments(np.array(character), kept=kept or set(), **fields)  # type: ignore[arg-type]


def after(labels: list[int], what: KnownAssignments) -> list[int]:
    characters: list[int] = reconcile_clusters(np.array(labels), what).tolist()
    return characters


def test_the_larger_part_of_a_divided_group_keeps_the_id() -> None:
    assert after([0, 0, 1, 1, 1], known([7] * 5)) == [-1, -1, 7, 7, 7]


def test_a_curated_character_is_not_split() -> None:
    assert after([0, 0, 1, 1, 1], known([7] * 5, kept={7})) == [7] * 5


def test_two_curated_characters_in_one_group_stay_separate_and_its_new_faces_stay_unassigned() -> None:
    assert after([0] * 6, known([7, 7, 7, 8, 8, 0], kept={7, 8})) == [7, 7, 7, 8, 8, 0]


def test_an_unnamed_character_is_not_merged_into_a_named_one() -> None:
    assert after([0] * 6, known([7, 7, 7, 8, 8, 0], kept={7})) == [7, 7, 7, 8, 8, 7]


def test_two_unnamed_characters_in_one_group_are_merged() -> None:
    assert after([0] * 5, known([7, 7, 7, 8, 8])) == [7] * 5


def test_a_cluster_corrects_an_automatic_assignment() -> None:
    assigned = np.array([False] * 8 + [True])
    what = known([7, 7, 7, 8, 8, 8, 8, 8, 7], kept={7, 8}, assigned=assigned)
    assert after([0, 0, 0, 1, 1, 1, 1, 1, 1], what) == [7, 7, 7, 8, 8, 8, 8, 8, 8]


def test_a_few_stray_faces_do_not_decide_the_owner_of_a_group() -> None:
    labels = [0] * 4 + [1] * 10
    assert after(labels, known([7] * 4 + [7] + [0] * 9, kept={7})) == [7] * 4 + [7] + [-1] * 9


def test_an_unclustered_face_leaves_an_unnamed_character_and_stays_with_a_named_one() -> None:
    assert after([0, 0, -1, 1, 1, -1], known([7, 7, 7, 8, 8, 8], kept={8})) == [7, 7, 0, 8, 8, 8]
