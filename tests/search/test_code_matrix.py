"""The codes in memory give exactly what counting all the bits gives, whatever was put, replaced and removed before."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.search import code_matrix
from indexd.search.code_matrix import CodeMatrix


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_matrix, "BLOCK", 256)
    monkeypatch.setattr(code_matrix, "GATHER", 64)


def _codes(seed: int, count: int, size: int = 16) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size), dtype=np.uint8)


def _distances(codes: NDArray[np.uint8], code: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.unpackbits(codes ^ code, axis=1).sum(axis=1, dtype=np.int64)


def _ids(*ids: int) -> NDArray[np.int64]:
    return np.array(ids, dtype=np.int64)


def _assert_nearest(matrix: CodeMatrix, truth: dict[int, NDArray[np.uint8]], among: list[int] | None = None) -> None:
    """Equal distances may be exchanged for one another, so distances are compared, and that each is of its id."""
    code = _codes(99, 1, len(next(iter(truth.values()))))[0]
    those = sorted(truth) if among is None else [one for one in among if one in truth]
    count = 20
    found = matrix.nearest(code, count, None if among is None else _ids(*among))
    assert len(set(found.ids.tolist())) == len(found.ids) == min(count, len(those))
    assert set(found.ids.tolist()) <= set(those)
    if found.distances is not None:
        assert found.distances.tolist() == _distances(np.stack([truth[i] for i in found.ids.tolist()]), code).tolist()
        everyone = np.sort(_distances(np.stack([truth[i] for i in those]), code))
        assert found.distances.tolist() == everyone[:count].tolist()
    else:
        assert set(found.ids.tolist()) == set(those)


@pytest.mark.parametrize("size", [16, 12, 3])
def test_the_nearest_of_all_and_of_some_are_those_of_brute_force(size: int) -> None:
    codes, ids = _codes(1, 1000, size), np.random.default_rng(2).permutation(5000)[:1000].astype(np.int64)
    matrix = CodeMatrix(size)
    for start in range(0, 1000, 170):
        matrix.put(ids[start : start + 170], codes[start : start + 170])
    truth = dict(zip(ids.tolist(), codes, strict=True))
    assert len(matrix) == 1000
    _assert_nearest(matrix, truth)
    for share in (0.9, 0.5, 0.05, 0.001):
        _assert_nearest(matrix, truth, sorted(np.flatnonzero(np.random.default_rng(3).random(6000) < share).tolist()))
    assert len(matrix.nearest(codes[0], 20, _ids()).ids) == 0


def test_many_that_all_lie_far_away_are_found() -> None:
    """Most rows are in question, but none of the nearest: looking through those would bring nothing."""
    codes, code = _codes(1, 1000), _codes(99, 1)[0]
    matrix = CodeMatrix(16)
    matrix.put(np.arange(1000), codes)
    far = np.argsort(_distances(codes, code), kind="stable")[450:]
    _assert_nearest(matrix, dict(enumerate(codes)), sorted(far.tolist()))


@pytest.mark.parametrize("size", [96, 128, 160])
def test_long_codes_are_chosen_by_their_leading_bits_and_ranked_by_all(size: int) -> None:
    """Some lie near, by all their bits and so by the first ones; the others lie anywhere."""
    chance = np.random.default_rng(13)
    codes, code = _codes(12, 3000, size), _codes(99, 1, size)[0]
    near = chance.permutation(3000)[:40]
    flipped = chance.random((40, 8 * size)) < np.linspace(0.05, 0.3, 40)[:, None]
    codes[near] = code ^ np.packbits(flipped, axis=1)
    matrix = CodeMatrix(size)
    matrix.put(np.arange(3000), codes)
    truth = dict(enumerate(codes))
    _assert_nearest(matrix, truth)
    _assert_nearest(matrix, truth, sorted({*near.tolist(), *range(0, 3000, 2)}))
    _assert_nearest(matrix, truth, sorted({*near.tolist(), *range(0, 3000, 20)}))
    gone = near[::2]
    matrix.remove(gone)
    _assert_nearest(matrix, {one: code for one, code in truth.items() if one not in set(gone.tolist())})


def test_what_is_put_again_is_replaced_and_what_is_removed_is_gone() -> None:
    chance = np.random.default_rng(4)
    matrix, truth = CodeMatrix(16), {}
    for step in range(60):
        ids = chance.permutation(900)[: chance.integers(1, 120)].astype(np.int64)
        if step % 3 == 2:
            matrix.remove(ids)
            for one in ids.tolist():
                truth.pop(one, None)
        else:
            codes = _codes(step, len(ids))
            matrix.put(ids, codes)
            truth.update(zip(ids.tolist(), codes, strict=True))
        assert len(matrix) == len(truth)
        _assert_nearest(matrix, truth)
        _assert_nearest(matrix, truth, list(range(0, 900, 3)))
    matrix.remove(np.arange(900))
    assert len(matrix) == 0
    assert len(matrix.nearest(_codes(0, 1)[0], 5, None).ids) == 0


def test_what_is_only_added_does_not_replace() -> None:
    matrix = CodeMatrix(16)
    old, new = _codes(5, 1), _codes(6, 2)
    matrix.put(_ids(7), old)
    matrix.put(_ids(7, 8), new, replace=False)
    found = matrix.nearest(old[0], 1, None)
    assert found.distances is not None
    assert (found.ids.tolist(), found.distances.tolist()) == ([7], [0])
    assert len(matrix) == 2


def test_few_are_given_whole() -> None:
    matrix = CodeMatrix(16)
    matrix.put(np.arange(50), _codes(7, 50))
    assert matrix.nearest(_codes(8, 1)[0], 10, None, all_up_to=50).ids.tolist() == list(range(50))
    assert matrix.nearest(_codes(8, 1)[0], 10, np.arange(0, 100, 2), all_up_to=25).ids.tolist() == list(range(0, 50, 2))


def test_questions_beside_writers_never_lose_who_stays() -> None:
    """One picture lies nearest of all and stays; others come and go around it, so that rows change places all the time."""
    matrix, target = CodeMatrix(16), _codes(9, 1)
    matrix.put(np.arange(1000), _codes(10, 1000))
    matrix.put(_ids(5000), target)
    over = threading.Event()

    def come_and_go() -> None:
        chance = np.random.default_rng(11)
        while not over.is_set():
            ids = chance.permutation(1200)[:300].astype(np.int64)
            matrix.remove(ids)
            matrix.put(ids[:150], _codes(int(ids[0]), 150))

    writer = threading.Thread(target=come_and_go)
    writer.start()
    try:
        for _ in range(300):
            assert matrix.nearest(target[0], 3, None).ids[0] == 5000
            assert matrix.nearest(target[0], 3, np.arange(0, 6000, 2)).ids[0] == 5000
    finally:
        over.set()
        writer.join()
