"""Prototypes, assignment, grouping, suggestions and sampling on faces of known identity."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.characters.clustering.vector_file import normalize_rows
from indexd.characters.prototype_matcher import MAX_FACES_PER_CHARACTER, PrototypeMatcher, select_prototype_faces
from indexd.characters.prototypes import compute_prototypes, mean_similarity, two_means
from indexd.characters.sample_strategies import choose_sample
from indexd.characters.similarity_groups import group_by_similarity
from indexd.characters.suggestions import find_merge_candidates, find_two_cores
from tests.unit.characters.labelled_faces import faces

MADE = faces(600)


def of(one: int) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = MADE.rows[MADE.truth == one]
    return rows


def test_a_group_of_similar_faces_has_one_prototype_and_two_groups_have_two() -> None:
    assert len(compute_prototypes(of(0))) == 1
    both = compute_prototypes(np.concatenate([of(0), of(1)]))
    assert len(both) >= 2
    assert min(float((both @ normalize_rows(of(one).mean(axis=0))).max()) for one in (0, 1)) > 0.97
    assert len(compute_prototypes(of(0)[:1])) == 1


def test_two_means_separates_two_groups() -> None:
    side = two_means(np.concatenate([of(2), of(3)]))
    assert set(side[: len(of(2))].tolist()) != set(side[len(of(2)) :].tolist())
    assert len(set(side[: len(of(2))].tolist())) == 1
    assert mean_similarity(of(2)) > mean_similarity(np.concatenate([of(2), of(3)]))


def test_a_face_matches_the_nearest_character_within_threshold_and_margin_unless_rejected() -> None:
    known = PrototypeMatcher()
    for one in range(4):
        known.set_faces(one + 1, of(one)[:-2])
    last = np.stack([of(one)[-1] for one in range(4)])
    assert known.nearest(last).character.tolist() == [1, 2, 3, 4]
    assert known.nearest(last, [(1, 2)]).character.tolist() == [1, 0, 3, 4]
    strangers = MADE.rows[MADE.truth < 0]
    assert (known.nearest(strangers).character > 0).mean() < 0.05
    known.set_faces(1, of(0), threshold=0.999)
    assert known.nearest(last).character.tolist() == [0, 2, 3, 4]
    known.set_faces(2, of(1)[:0])
    assert known.nearest(last).character.tolist() == [0, 0, 3, 4]
    # Two that are the same: a face between them is nobody's.
    known.set_faces(5, of(2)[:-2])
    assert known.nearest(last).character.tolist() == [0, 0, 0, 4]
    known.clear()
    assert known.nearest(last).character.tolist() == [0, 0, 0, 0]


def test_prototypes_of_a_large_character_use_confirmed_faces_first() -> None:
    ids = np.arange(10, 1010)
    sure = np.zeros(1000, np.bool_)
    sure[[5, 900]] = True
    chosen = select_prototype_faces(ids, sure)
    assert len(chosen) == len(set(chosen.tolist())) == MAX_FACES_PER_CHARACTER
    assert {15, 910} <= set(chosen.tolist())
    assert select_prototype_faces(ids[:3], sure[:3]).tolist() == [10, 11, 12]


def test_similar_faces_stay_in_one_group() -> None:
    rows = np.concatenate([of(0), of(1)])
    first, second = group_by_similarity(rows, 0.7)
    assert {tuple(first), tuple(second)} == {tuple(range(len(of(0)))), tuple(range(len(of(0)), len(rows)))}
    assert len(group_by_similarity(rows, 0.1)) == 1
    assert group_by_similarity(rows[:0], 0.5) == []


def test_of_very_many_faces_a_part_is_linked_and_the_others_join_the_nearest_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("indexd.characters.similarity_groups.MAX_LINKED_FACES", 20)
    rows = np.concatenate([of(0), of(1)])
    groups = group_by_similarity(rows, 0.7)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(rows)))
    assert len(groups) == 2


def test_a_split_is_suggested_for_two_cores_and_not_for_one() -> None:
    found = find_two_cores(np.concatenate([of(0), of(1)]))
    assert found is not None
    assert len(set(found.in_second[: len(of(0))].tolist())) == 1
    assert all(find_two_cores(of(one)) is None for one in range(8))
    assert find_two_cores(of(0)[:15]) is None


def test_a_merge_is_suggested_for_one_group_and_not_for_two() -> None:
    split = {one + 1: of(one) for one in range(4)}
    split[10], split[11] = of(5)[::2], of(5)[1::2]
    assert [pair[:2] for pair in find_merge_candidates(split)] == [(10, 11)]
    assert find_merge_candidates(split, [(10, 11)]) == []


def test_each_strategy_chooses_its_sample() -> None:
    rows = np.concatenate([of(0), of(1)[:2], of(2)[:1]])
    quality = np.arange(len(rows)) / len(rows)
    assert choose_sample("best", 2, rows, quality).tolist() == [len(rows) - 1, len(rows) - 2]
    diverse = choose_sample("diverse", 3, rows, quality).tolist()
    assert diverse[0] < len(of(0))
    assert {len(rows) - 1} < set(diverse)
    assert len({min(place, len(of(0))) for place in diverse}) >= 2
    assert max(choose_sample("typical", 10, rows, quality)) < len(of(0))
    first = choose_sample("random", 5, rows, quality, seed=1).tolist()
    assert first == choose_sample("random", 5, rows, quality, seed=1).tolist()
    assert first != choose_sample("random", 5, rows, quality, seed=2).tolist()
    assert sorted(choose_sample("diverse", 10_000, rows, quality).tolist()) == list(range(len(rows)))
    assert choose_sample("typical", 3, rows[:0], quality[:0]).tolist() == []
