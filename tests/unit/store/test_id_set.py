"""IdSet behaves like a set of ids, whatever it was created from."""

from __future__ import annotations

import numpy as np

from indexd.store.id_set import IdSet
from indexd.store.sqlite.adapters import ids_json


def test_an_id_set_is_sorted_unique_and_equals_other_sets() -> None:
    made = IdSet([5, 1, 5, 3])
    assert made.array.tolist() == [1, 3, 5]
    assert list(made) == [1, 3, 5]
    assert made == {1, 3, 5}
    assert {1, 3} != made
    assert len(made) == 3
    assert 3 in made
    assert 4 not in made
    assert 6 not in made
    assert "3" not in made  # type: ignore[comparison-overlap]
    assert IdSet([3, 1, 5]) == made != IdSet([1, 3, 6])
    assert IdSet([]) == set()


def test_dense_and_sparse_unsorted_ids_are_sorted() -> None:
    chance = np.random.default_rng(1)
    for most in (300, 10**12):
        ids = chance.integers(0, most, 200)
        assert IdSet(ids).array.tolist() == sorted(set(ids.tolist()))
    assert IdSet([3, -1, 0]).array.tolist() == [-1, 0, 3]


def test_sets_can_be_combined() -> None:
    some, other = IdSet([1, 2, 3]), {2, 3, 4}
    assert some & other == {2, 3}
    assert some | other == {1, 2, 3, 4}
    assert some - other == {1}
    assert isinstance(some & other, IdSet)


def test_membership_of_many_ids_is_tested_at_once() -> None:
    assert IdSet([4, 2, 9]).membership_mask(np.array([9, 1, 2, 10])).tolist() == [True, False, True, False]
    assert IdSet([]).membership_mask(np.array([1])).tolist() == [False]


def test_of_accepts_any_collection_and_does_not_copy_an_id_set() -> None:
    made = IdSet.of({9, 7})
    assert IdSet.of(made) is made
    assert made.array.dtype == np.int64


def test_ids_are_serialized_as_plain_numbers() -> None:
    assert ids_json(IdSet([2, 1])) == "[1, 2]"
    assert ids_json({3}) == "[3]"
    assert ids_json(np.array([4])) == "[4]"
