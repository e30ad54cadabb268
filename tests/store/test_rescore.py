"""Candidates are scored as far as it takes to be sure of the best, and no further."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.store import rescore
from indexd.store.code_index import Candidates, CodesOf
from indexd.store.id_set import IdSet
from indexd.store.index import Store
from tests.store.made_up import Library

DIM = 32
COUNT = 4000


class Ranked:
    """A code index that says of every picture how far away it is."""

    def __init__(self, ids: list[int], distances: NDArray[np.int32]) -> None:
        order = np.argsort(distances, kind="stable")
        self._answer = Candidates(np.array(ids, dtype=np.int64)[order], distances[order].astype(np.int32))

    def find(self, _of: CodesOf, _code: object, count: int, _among: IdSet | None, _all_up_to: int) -> Candidates:
        assert self._answer.distances is not None
        return Candidates(self._answer.ids[:count], self._answer.distances[:count])

    def put(self, _of: CodesOf, _ids: object, _codes: object) -> None: ...
    def removed(self, _key: object, _ids: object) -> None: ...
    def changed(self, _layer: str) -> None: ...


def _library(store: Store, library: Library, cosines: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float32]]:
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
    exactly = rescore.rescored

    def counted(connection: object, coding: object, query: object, ids: Collection[int]) -> object:
        steps.append(len(ids))
        return exactly(connection, coding, query, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(rescore, "rescored", counted)
    return steps


def test_codes_that_rank_well_need_one_look(store: Store, library: Library, scored: list[int]) -> None:
    cosines = np.linspace(0.9, 0.1, COUNT)
    ids, query = _library(store, library, cosines)
    store.vectors.attach(Ranked(ids, np.arange(COUNT)))
    found = store.vectors.nearest("clip_h", query, 20)
    assert [image_id for image_id, _ in found] == ids[:20]
    assert scored == [200]


def test_codes_that_rank_badly_are_looked_at_further(store: Store, library: Library, scored: list[int]) -> None:
    """The noise of the distances is as large as what the first hundreds differ by."""
    chance = np.random.default_rng(2)
    cosines = np.linspace(0.5, 0.1, COUNT)
    ids, query = _library(store, library, cosines)
    store.vectors.attach(Ranked(ids, (np.arange(COUNT) + chance.normal(0, 250, COUNT) + 1000).astype(np.int32)))
    found = {image_id for image_id, _ in store.vectors.nearest("clip_h", query, 20)}
    assert len(found & set(ids[:20])) == 20
    assert sum(scored) > 200


def test_candidates_whose_vector_is_gone_are_passed_over(store: Store, library: Library) -> None:
    ids, query = _library(store, library, np.linspace(0.9, 0.1, 3000))
    index = Ranked(ids, np.arange(3000))
    store.vectors.attach(index)
    store.vectors.remove(ids[:250])
    found = store.vectors.nearest("clip_h", query, 5)
    assert [image_id for image_id, _ in found] == ids[250:255]
