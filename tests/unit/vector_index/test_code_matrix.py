"""The codes in memory give exactly what looking at all of them gives, whatever was put, replaced and removed before."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.vector_index import code_matrix, code_scan
from indexd.vector_index.code_index import CandidateLimits
from indexd.vector_index.code_matrix import CodeMatrix
from indexd.vector_index.code_scan import refine
from indexd.vector_index.estimate import QueryCode, encode_query
from indexd.vector_index.quantize import ROTATION_SEED, quantize, rotate, split_codes

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]

DIM = 128
FEW = CandidateLimits(20, 20, 20)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_matrix, "BLOCK_ROWS", 256)
    monkeypatch.setattr(code_matrix, "GATHER_ROWS", 64)
    monkeypatch.setattr(code_matrix, "FIRST_SCAN_ROWS", 60)
    monkeypatch.setattr(code_matrix, "ROWS_PER_THREAD", 300)
    monkeypatch.setattr(code_matrix, "REFINED_ROWS_PER_THREAD", 8)
    monkeypatch.setattr(code_matrix, "REFINE_ROWS", 7)
    monkeypatch.setattr(code_scan, "FIRST_PIECE_ROWS", 50)
    monkeypatch.setattr(code_scan, "MAX_PIECE_ROWS", 100)


def _mean(dim: int) -> Floats:
    mean: Floats = np.random.default_rng(0).standard_normal(dim).astype(np.float32)
    return mean * np.float32(0.6 / np.linalg.norm(mean))


def _vectors(seed: int, count: int, dim: int = DIM) -> Floats:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32) / np.float32(dim**0.5)
    rows += _mean(dim)
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _encoded(vectors: Floats) -> Codes:
    return quantize(vectors, _mean(vectors.shape[1]), ROTATION_SEED)


def _codes(seed: int, count: int) -> Codes:
    return _encoded(_vectors(seed, count))


def _aim(vector: Floats) -> QueryCode:
    return encode_query(vector, _mean(len(vector)), ROTATION_SEED)


QUESTION = _vectors(99, 1)[0]


def _estimates(codes: Codes, vector: Floats) -> NDArray[np.float64]:
    """The fine estimates as estimate.py's first lines define them, from all numbers of the question."""
    mean, dim = _mean(len(vector)).astype(np.float64), len(vector)
    share = vector @ mean / (mean @ mean)
    rest = rotate((vector - share * mean).astype(np.float32)[None, :], ROTATION_SEED)[0]
    signs = np.unpackbits(codes[:, :-4], axis=1, count=dim) * 2.0 - 1
    lengths = codes[:, -4:].copy().view("<f4")[:, 0].astype(np.float64)
    along = lengths * (signs @ rest) / np.sqrt(2 * dim / np.pi)
    found: NDArray[np.float64] = along + share * (1 + mean @ mean - lengths**2) / 2
    return found


def _ids(*ids: int) -> NDArray[np.int64]:
    return np.array(ids, dtype=np.int64)


def _assert_nearest(
    matrix: CodeMatrix, truth: dict[int, Codes], among: list[int] | None = None, question: Floats = QUESTION
) -> None:
    """What is given is what all codes say, but for one that roughly looked worse; that is right but for the four bits a number."""
    those = sorted(truth) if among is None else [one for one in among if one in truth]
    found = matrix.nearest(_aim(question), FEW, None if among is None else _ids(*among))
    assert len(set(found.ids.tolist())) == len(found.ids) == min(20, len(those))
    assert set(found.ids.tolist()) <= set(those)
    assert found.estimates is not None
    if those:
        said = _estimates(np.stack([truth[i] for i in found.ids.tolist()]), question)
        assert np.abs(found.estimates - said).max() < 0.02 + found.noise / 3
        everyone = refine(_aim(question), *split_codes(np.stack([truth[i] for i in those])))
        best = {those[at] for at in np.argsort(-everyone)[:20]}
        assert len(best - set(found.ids.tolist())) <= 1
        assert np.all(np.diff(found.estimates) <= 0)


@pytest.mark.parametrize("dim", [128, 96, 20, 768])
def test_the_nearest_of_all_and_of_some_are_those_of_brute_force(dim: int) -> None:
    ids = np.random.default_rng(2).permutation(5000)[:1000].astype(np.int64)
    codes, question = _encoded(_vectors(1, 1000, dim)), _vectors(99, 1, dim)[0]
    matrix = CodeMatrix(codes.shape[1])
    for start in range(0, 1000, 170):
        matrix.put(ids[start : start + 170], codes[start : start + 170])
    truth = dict(zip(ids.tolist(), codes, strict=True))
    assert len(matrix) == 1000
    _assert_nearest(matrix, truth, None, question)
    for share in (0.9, 0.5, 0.05, 0.001):
        some = np.flatnonzero(np.random.default_rng(3).random(6000) < share)
        _assert_nearest(matrix, truth, sorted(some.tolist()), question)
    assert len(matrix.nearest(_aim(question), FEW, _ids()).ids) == 0


def test_many_that_all_lie_far_away_are_found() -> None:
    """Most rows are in question, but none of the nearest: looking through those would bring nothing."""
    codes = _codes(1, 1000)
    matrix = CodeMatrix(codes.shape[1])
    matrix.put(np.arange(1000), codes)
    far = np.argsort(-_estimates(codes, QUESTION), kind="stable")[450:]
    _assert_nearest(matrix, dict(enumerate(codes)), sorted(far.tolist()))


@pytest.mark.parametrize("dim", [768, 1024, 1280])
def test_long_codes_are_chosen_by_their_leading_signs_and_ranked_by_all(dim: int) -> None:
    """Some lie near; the others lie anywhere."""
    chance = np.random.default_rng(13)
    vectors, question = _vectors(12, 3000, dim), _vectors(99, 1, dim)[0]
    near = chance.permutation(3000)[:40]
    vectors[near] += np.linspace(0.3, 3, 40, dtype=np.float32)[:, None] * question
    vectors[near] /= np.linalg.norm(vectors[near], axis=1, keepdims=True)
    codes = _encoded(vectors)
    matrix = CodeMatrix(codes.shape[1])
    matrix.put(np.arange(3000), codes)
    truth = dict(enumerate(codes))
    for among in (None, sorted({*near.tolist(), *range(0, 3000, 2)}), sorted({*near.tolist(), *range(0, 3000, 20)})):
        _assert_nearest(matrix, truth, among, question)
    gone = near[::2]
    matrix.remove(gone)
    _assert_nearest(matrix, {one: code for one, code in truth.items() if one not in set(gone.tolist())}, None, question)


def test_what_is_put_again_is_replaced_and_what_is_removed_is_gone() -> None:
    chance = np.random.default_rng(4)
    matrix, truth = CodeMatrix(_codes(0, 1).shape[1]), dict[int, Codes]()
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
    assert len(matrix.nearest(_aim(QUESTION), FEW, None).ids) == 0


def test_what_is_only_added_does_not_replace() -> None:
    vectors = _vectors(5, 3)
    codes = _encoded(vectors)
    matrix = CodeMatrix(codes.shape[1])
    matrix.put(_ids(7), codes[:1])
    matrix.put(_ids(7, 8), codes[1:], replace=False)
    for vector, nearest in ((vectors[0], 7), (vectors[2], 8)):
        found = matrix.nearest(_aim(vector), CandidateLimits(1, 1, 1), None)
        assert found.ids.tolist() == [nearest]
        assert found.estimates is not None
        assert found.estimates[0] == pytest.approx(1.0, abs=0.1)
    assert len(matrix) == 2


def test_few_are_given_whole() -> None:
    codes = _codes(7, 50)
    matrix = CodeMatrix(codes.shape[1])
    matrix.put(np.arange(50), codes)
    assert matrix.nearest(_aim(QUESTION), CandidateLimits(10, 10, 10, exhaustive_up_to=50), None).ids.tolist() == list(
        range(50)
    )
    some = matrix.nearest(_aim(QUESTION), CandidateLimits(10, 10, 10, exhaustive_up_to=25), np.arange(0, 100, 2))
    assert (some.ids.tolist(), some.estimates) == (list(range(0, 50, 2)), None)


def test_questions_beside_writers_never_lose_who_stays() -> None:
    """One picture lies nearest of all and stays; others come and go around it, so that rows change places all the time."""
    target = _vectors(9, 1)
    matrix = CodeMatrix(_encoded(target).shape[1])
    matrix.put(np.arange(1000), _codes(10, 1000))
    matrix.put(_ids(5000), _encoded(target))
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
        for _ in range(100):
            assert matrix.nearest(_aim(target[0]), CandidateLimits(3, 3, 3), None).ids[0] == 5000
            assert matrix.nearest(_aim(target[0]), CandidateLimits(3, 3, 3), np.arange(0, 6000, 2)).ids[0] == 5000
    finally:
        over.set()
        writer.join()
