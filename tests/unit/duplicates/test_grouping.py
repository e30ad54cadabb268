"""The index over hashes finds every pair that all pairs would give; groups do not chain."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.duplicates import make_hashes
from indexd.duplicates import multi_index_hashing
from indexd.duplicates.hash_similarity import (
    NEAR_LIMITS,
    PROPOSAL_LIMITS,
    HashArrays,
    Limits,
    are_near,
)
from indexd.duplicates.multi_index_hashing import candidate_pairs
from indexd.duplicates.near_duplicates import near_hash_groups, near_hash_pairs
from indexd.duplicates.star_groups import star_groups
from indexd.store.records import HashedImages

Pairs = set[tuple[int, int]]


def as_set(left: NDArray[np.int64], right: NDArray[np.int64]) -> Pairs:
    return {(min(pair), max(pair)) for pair in zip(left.tolist(), right.tolist(), strict=True)}


@pytest.mark.parametrize("many", [10, 10**9], ids=["three bands", "four bands"])
@pytest.mark.parametrize("slice_pairs", [7, 1 << 20])
def test_no_pair_within_the_radius_is_missed(many: int, slice_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_index_hashing, "_THREE_BANDS_FROM", many)
    monkeypatch.setattr(multi_index_hashing, "SLICE_PAIRS", slice_pairs)
    chance = np.random.default_rng(3)
    bits = chance.integers(0, 2, (60, 64), np.uint8)
    bits[30:] = bits[:30]
    for row in range(30):
        bits[30 + row, chance.choice(64, row % 10, replace=False)] ^= 1
    left, right = np.triu_indices(60, 1)
    near = (bits[left] != bits[right]).sum(axis=1) <= 9
    expected = as_set(left[near], right[near])
    assert len(expected) >= 30
    found: Pairs = set()
    for one, other in candidate_pairs(bits, 9):
        assert not (one == other).any()
        found |= as_set(one, other)
    assert expected <= found


@pytest.mark.parametrize("limits", [NEAR_LIMITS, *(limits for _, limits in PROPOSAL_LIMITS)])
def test_the_index_finds_what_all_pairs_find(limits: Limits) -> None:
    looks = HashArrays.from_rows(make_hashes(1500))
    left, right = np.triu_indices(1500, 1)
    near = are_near(looks, left, right, limits)
    assert near.sum() >= 70
    assert as_set(*near_hash_pairs(looks, limits)) == as_set(left[near], right[near])


def test_groups_do_not_chain_along() -> None:
    # 0-1-2-3-4: each like the next one only.
    groups = star_groups(5, np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4]))
    assert groups == [[1, 0, 2], [3, 4]]


def test_thousands_of_equal_hashes_are_one_group_and_quickly() -> None:
    hashes = np.repeat(make_hashes(1).hashes, 30_000, axis=0)
    groups = near_hash_groups(HashedImages(np.arange(30_000), hashes), NEAR_LIMITS)
    assert [len(group) for group in groups] == [30_000]


def test_nothing_gives_nothing() -> None:
    nothing = HashedImages(np.arange(0), np.empty((0, 64), np.uint8))
    assert near_hash_groups(nothing, NEAR_LIMITS) == []
    assert near_hash_groups(make_hashes(1), NEAR_LIMITS) == []
