"""Candidates are rescored until the best are certain, and no further."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.vectors import rescore
from indexd.vector_index.code_index import CandidateLimits, Candidates, CodeSetId
from indexd.vector_index.estimate import QueryCode
from tests.unit.store.sample_rows import Library, take_vectors

DIM = 32
COUNT = 4000


class Ranked:
    """A code index that says of every picture how near it is, and how sure it is of that."""

    def __init__(self, ids: list[int], estimates: NDArray[np.float64], noise: float) -> None:
        order = np.argsort(-estimates, kind="stable")
        self._ids, self._estimates = np.array(ids, dtype=np.int64)[order], estimates[order].astype(np.float32)
        self._noise = noise

    def find(self, _of: CodeSetId, _aim: QueryCode, wanted: CandidateLimits, _among: object) -> Candidates:
        return Candidates(self._ids[: wanted.max_candidates], self._estimates[: wanted.max_candidates], self._noise)

    def put(self, _of: CodeSetId, _ids: object, _codes: object) -> None: ...
    def remove(self, _key: object, _ids: object) -> None: ...
    def invalidate(self, _layer: str) -> None: ...


def _library(
    store: IndexStore, library: Library, cosines: NDArray[np.float64]
) -> tuple[list[int], NDArray[np.float32]]:
    """Pictures with these cosines to the first axis, which is the question."""
    ids = library.add_many(len(cosines))
    aside = np.random.default_rng(1).standard_normal((len(cosines), DIM - 1))
    aside *= (np.sqrt(1 - cosines**2) / np.linalg.norm(aside, axis=1))[:, None]
    vectors = np.column_stack([cosines, aside]).astype(np.float32)
    store.vectors.put("clip_h", store.vectors.activate("clip_h", "one", DIM, "image"), ids, vectors)
    return ids, np.eye(DIM, dtype=np.float32)[0]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were scored exactly, step by step."""
    steps: list[int] = []
    exactly = rescore.rescore

    def counted(connection: object, coding: object, query: object, ids: Collection[int]) -> object:
        steps.append(len(ids))
        return exactly(connection, coding, query, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(rescore, "rescore", counted)
    return steps


def test_exact_estimates_need_one_rescoring_round(store: IndexStore, library: Library, scored: list[int]) -> None:
    cosines = np.concatenate([np.linspace(0.9, 0.8, 20), np.linspace(0.7, 0.1, COUNT - 20)])
    ids, query = _library(store, library, cosines)
    store.vectors.attach(Ranked(ids, cosines, noise=1e-3))
    found = store.vectors.nearest("clip_h", query, 20)
    assert [image_id for image_id, _ in found] == ids[:20]
    assert scored == [40]


def test_noisy_estimates_are_rescored_within_their_noise(
    store: IndexStore, library: Library, scored: list[int]
) -> None:
    chance = np.random.default_rng(2)
    cosines = np.linspace(0.9, 0.1, COUNT)
    noise = 0.02
    ids, query = _library(store, library, cosines)
    store.vectors.attach(Ranked(ids, cosines + chance.normal(0, noise, COUNT), noise))
    found = {image_id for image_id, _ in store.vectors.nearest("clip_h", query, 20)}
    # One in forty lies more than two deviations above its estimate.
    assert len(found & set(ids[:20])) >= 18
    # Down to two deviations below the 20th, which is .896: some 300 of them.
    assert 150 < sum(scored) < 400


def test_rescoring_is_bounded(store: IndexStore, library: Library, scored: list[int]) -> None:
    ids, query = _library(store, library, np.linspace(0.9, 0.1, COUNT))
    store.vectors.attach(Ranked(ids, np.linspace(0.9, 0.1, COUNT), noise=1.0))
    store.vectors.nearest("clip_h", query, 20)
    assert sum(scored) == 1000


def test_candidates_without_a_vector_are_skipped(store: SqliteStore, library: Library) -> None:
    ids, query = _library(store, library, np.linspace(0.9, 0.1, 3000))
    store.vectors.attach(Ranked(ids, np.linspace(0.9, 0.1, 3000), noise=1e-6))
    take_vectors(store, ids[:250])
    found = store.vectors.nearest("clip_h", query, 5)
    assert [image_id for image_id, _ in found] == ids[250:255]


def test_missing_vectors_do_not_reduce_the_number_of_hits(store: SqliteStore, library: Library) -> None:
    ids, query = _library(store, library, np.linspace(0.9, 0.1, 3000))
    store.vectors.attach(Ranked(ids, np.linspace(0.9, 0.1, 3000), noise=1e-6))
    take_vectors(store, ids[100:150])
    found = store.vectors.nearest("clip_h", query, 200)
    assert [image_id for image_id, _ in found] == [*ids[:100], *ids[150:250]]
