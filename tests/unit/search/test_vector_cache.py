"""The codes in memory follow the index: loaded in the background, updated by every write, never of another revision."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexd.errors import StoreError, StoreUnavailable
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.vectors import code_tables
from indexd.store.sqlite.vectors import vectors as vectors_module
from indexd.store.sqlite.vectors.code_tables import classify_fill_failure
from indexd.vector_index.code_index import CandidateLimits, CodeSetId
from indexd.vector_index.estimate import encode_query
from indexd.vector_index.quantize import ROTATION_SEED
from indexd.vector_index.vector_cache import VectorCache
from tests.unit.store.sample_rows import take_vectors

LAYER = "clip_h"
DIM = 256


def add_pictures(store: SqliteStore, count: int, start: int = 0) -> list[int]:
    """Ids of pictures that have nothing but a name."""
    root = store.roots.ensure(b"/pictures", "images")
    batch = [
        ScannedFile(
            root.id, b"%d.png" % at, FileStamp(1, 1, at), ImageFacts(b"%032d" % at, 1, "PNG", 1, 1, 1, ImageMetadata())
        )
        for at in range(start, start + count)
    ]
    return [recorded.image_id for recorded in store.images.ingest(batch, 1.0) if recorded.image_id]


def cone(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors around one direction, in clusters that are the same for every seed."""
    fixed, chance = np.random.default_rng(0), np.random.default_rng((1, seed))
    fall = 1 / np.sqrt(np.arange(1, dim + 1))
    common, centres = fixed.standard_normal(dim) * 3 / dim**0.5, fixed.standard_normal((40, dim)) * fall
    rows = common + 0.4 * centres[chance.integers(0, 40, count)] + 0.4 * chance.standard_normal((count, dim)) * fall
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.fixture(autouse=True)
def everything_through_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets are scored one and all, which would hide the codes."""
    monkeypatch.setattr(vectors_module, "EXACT_LIBRARY_LIMIT", 10)
    monkeypatch.setattr(vectors_module, "EXACT_SUBSET_LIMIT", 10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore.open(tmp_path / "index.db") as opened:
        yield opened


@pytest.fixture
def cache(store: SqliteStore) -> Iterator[VectorCache]:
    bugs: list[BaseException] = []
    made = VectorCache(store.vectors, [LAYER], classify_fill_failure, bugs.append)
    yield made
    made.stop()
    assert bugs == []


def _fill(
    store: SqliteStore, count: int, identity: str = "one", seed: int = 1
) -> tuple[list[int], NDArray[np.float32]]:
    ids = add_pictures(store, count)
    vectors = cone(count, DIM, seed)
    store.vectors.put(LAYER, store.vectors.activate(LAYER, identity, DIM, "image"), ids, vectors)
    return ids, vectors


def _best(ids: list[int], vectors: NDArray[np.float32], query: NDArray[np.float32], k: int) -> set[int]:
    return {ids[at] for at in np.argsort(-(vectors @ query))[:k]}


def _recall(store: SqliteStore, ids: list[int], vectors: NDArray[np.float32], among: set[int] | None = None) -> float:
    kept = [at for at, one in enumerate(ids) if among is None or one in among]
    left, rows = [ids[at] for at in kept], vectors[kept]
    shares = []
    for query in cone(20, DIM, 77):
        found = {image_id for image_id, _ in store.vectors.nearest(LAYER, query, 10, among)}
        shares.append(len(found & _best(left, rows, query, 10)) / min(10, len(left)))
    return float(np.mean(shares))


class Counting:
    """Stands before the cache and counts how often it had the answer."""

    def __init__(self, cache: VectorCache) -> None:
        self.answered = 0
        find = cache.find

        def counted(*asked: object) -> object:
            answer = find(*asked)  # type: ignore[arg-type]
            self.answered += answer is not None
            return answer

        cache.find = counted  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.005])
def test_the_best_hits_equal_brute_force_under_any_filter(store: SqliteStore, cache: VectorCache, share: float) -> None:
    ids, vectors = _fill(store, 4000)
    store.vectors.requantize_layer(LAYER)
    cache.start()
    cache.wait_until_filled()
    counting = Counting(cache)
    chance = np.random.default_rng(5)
    among = None if share == 1.0 else {one for one in ids if chance.random() < share}
    assert _recall(store, ids, vectors, among) > 0.99
    # So few that all are scored need no codes.
    assert counting.answered == (0 if share == 0.005 else 20)


@pytest.mark.parametrize("asked", ["in memory", "in the tables"])
def test_a_batch_far_ahead_of_all_others_hides_no_other_hits(
    store: SqliteStore, cache: VectorCache, asked: str
) -> None:
    """Who asks for 200 and has a batch of 40 that are all alike gets the 160 after them as well."""
    ids = add_pictures(store, 3000)
    vectors = cone(3000, DIM, 1)
    vectors[:40] = vectors[0] + 0.05 * np.random.default_rng(1).standard_normal((40, DIM)) / DIM**0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store.vectors.put(LAYER, store.vectors.activate(LAYER, "one", DIM, "image"), ids, vectors)
    store.vectors.requantize_layer(LAYER)
    if asked == "in memory":
        cache.start()
        cache.wait_until_filled()
    for among in (None, set(ids[:1500]), set(ids[:500])):
        there = ids if among is None else sorted(among)
        rows = vectors[: len(there)]
        found = [image_id for image_id, _ in store.vectors.nearest(LAYER, vectors[0], 200, among)]
        assert len(found) == 200
        assert set(found[:40]) == set(ids[:40])
        assert len(set(found) & _best(there, rows, vectors[0], 200)) > 120


def test_searches_work_before_during_and_after_loading(store: SqliteStore, cache: VectorCache) -> None:
    ids, vectors = _fill(store, 1500)
    before = store.vectors.nearest(LAYER, vectors[3], 1)
    assert not cache.is_ready(LAYER)
    cache.start()
    cache.wait_until_filled()
    assert cache.is_ready(LAYER)
    assert store.vectors.nearest(LAYER, vectors[3], 1) == before
    [(nearest, likeness)] = before
    assert nearest == ids[3]
    assert likeness == pytest.approx(1.0, abs=1e-3)
    assert cache.nbytes >= 1500 * DIM // 8


def test_later_changes_take_effect_at_once(store: SqliteStore, cache: VectorCache) -> None:
    ids, _ = _fill(store, 300)
    cache.start()
    cache.wait_until_filled()
    revision = store.vectors.active_revision(LAYER)
    assert revision is not None
    new = add_pictures(store, 2, start=300)
    far = cone(2, DIM, 8) * np.float32(-1)
    store.vectors.put(LAYER, revision.id, new, far)
    assert store.vectors.nearest(LAYER, far[0], 1)[0][0] == new[0]
    store.vectors.put(LAYER, revision.id, [ids[0]], far[1:])
    assert {image_id for image_id, _ in store.vectors.nearest(LAYER, far[1], 2)} == {new[1], ids[0]}
    take_vectors(store, [new[1], 987_654])
    assert store.vectors.nearest(LAYER, far[1], 1)[0][0] == ids[0]
    assert store.vectors.get(LAYER, new[1]) is None


def test_revisions_are_never_mixed_and_load_completely(store: SqliteStore, cache: VectorCache) -> None:
    ids, vectors = _fill(store, 200, "one")
    cache.start()
    cache.wait_until_filled()
    second = store.vectors.activate(LAYER, "two", DIM, "image")
    assert store.vectors.nearest(LAYER, vectors[0], 5) == []
    store.vectors.put(LAYER, second, ids[:50], cone(50, DIM, 9))
    cache.wait_until_filled()
    assert cache.is_ready(LAYER)
    assert {image_id for image_id, _ in store.vectors.nearest(LAYER, vectors[0], 200)} == set(ids[:50])
    store.vectors.activate(LAYER, "one", DIM, "image")
    cache.wait_until_filled()
    assert store.vectors.nearest(LAYER, vectors[120], 1)[0][0] == ids[120]


def test_requantized_codes_are_reloaded(store: SqliteStore, cache: VectorCache) -> None:
    ids, vectors = _fill(store, 2500)
    cache.start()
    cache.wait_until_filled()
    assert store.vectors.requantize_layer(LAYER)
    cache.wait_until_filled()
    counting = Counting(cache)
    assert _recall(store, ids, vectors) > 0.99
    assert counting.answered == 20


def test_an_unreadable_layer_is_loaded_later(
    store: SqliteStore, cache: VectorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, vectors = _fill(store, 3000)
    store.vectors.requantize_layer(LAYER)
    in_use, troubles = store.vectors.active_codes, iter([StoreUnavailable("no file handle is left")])

    def refused_once(layer: str) -> object:
        for error in troubles:
            raise error
        return in_use(layer)

    monkeypatch.setattr(store.vectors, "active_codes", refused_once)
    monkeypatch.setattr("indexd.vector_index.vector_cache.RETRY_SECONDS", 0.01)
    cache.start()
    cache.wait_until_filled()
    counting = Counting(cache)
    assert _recall(store, ids, vectors) > 0.99
    assert counting.answered == 20


def test_a_restart_reloads_everything(tmp_path: Path) -> None:
    with SqliteStore.open(tmp_path / "restarted.db") as store:
        ids, vectors = _fill(store, 3000)
        store.vectors.requantize_layer(LAYER)
        take_vectors(store, ids[:100])
    with SqliteStore.open(tmp_path / "restarted.db") as store:
        bugs: list[BaseException] = []
        cache = VectorCache(store.vectors, [LAYER], classify_fill_failure, bugs.append)
        cache.start()
        cache.wait_until_filled()
        counting = Counting(cache)
        assert _recall(store, ids[100:], vectors[100:]) > 0.99
        assert counting.answered == 20
        cache.stop()
        assert _recall(store, ids[100:], vectors[100:]) > 0.99
        assert counting.answered == 20
        assert bugs == []


def test_bulk_reads_equal_those_of_sqlite_vec(store: SqliteStore) -> None:
    """The chunks are read as they lie; a sqlite-vec that keeps them in another way must be noticed."""
    ids, _ = _fill(store, 2500)
    take_vectors(store, ids[1000:1100])
    in_use = store.vectors.active_codes(LAYER)
    assert in_use is not None
    of, code_bytes = in_use
    assert (of.layer, code_bytes) == (LAYER, DIM // 8 + 4)
    read: dict[int, bytes] = {}
    chunk = 0
    while (piece := store.vectors.code_slice(LAYER, chunk)) is not None:
        assert piece.code_set == of
        read.update((image_id, code.tobytes()) for image_id, code in zip(piece.ids.tolist(), piece.codes, strict=True))
        chunk = piece.last_chunk
    with store._database.read() as connection:
        table = f"codes_{of.revision_id}_{of.generation}"
        assert read == dict(connection.execute(f"SELECT image_id, code FROM {table}").fetchall())
    assert len(read) == 2400


def test_loading_beside_writers_misses_no_vector(
    store: SqliteStore, cache: VectorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_tables, "CHUNKS_PER_SLICE", 1)
    ids, _ = _fill(store, 6000)
    revision = store.vectors.active_revision(LAYER)
    assert revision is not None
    replaced = cone(6000, DIM, 12)
    gone = ids[::7]

    def write() -> None:
        for start in range(0, 6000, 500):
            store.vectors.put(LAYER, revision.id, ids[start : start + 500], replaced[start : start + 500])
            take_vectors(store, [one for one in ids[start : start + 500] if one in set(gone)])

    writer = threading.Thread(target=write)
    writer.start()
    cache.start()
    writer.join()
    cache.wait_until_filled()
    of = CodeSetId(LAYER, revision.id, 0, "image_id")
    everything = cache.find(
        of,
        encode_query(replaced[0], None, ROTATION_SEED),
        CandidateLimits(10_000, 20, 20, exhaustive_up_to=10_000),
        None,
    )
    assert everything is not None
    assert sorted(everything.ids.tolist()) == sorted(set(ids) - set(gone))
    for at in (1, 2505, 5998):
        assert store.vectors.nearest(LAYER, replaced[at], 1)[0][0] == ids[at]


def test_searches_use_the_tables_while_the_index_is_unreadable(
    store: SqliteStore, cache: VectorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, vectors = _fill(store, 300)
    expected = store.vectors.nearest(LAYER, vectors[9], 5)

    def other_layout(*_: object) -> None:
        raise StoreError("this version of sqlite-vec keeps its codes in another way")

    monkeypatch.setattr(vectors_module, "read_code_slice", other_layout)
    cache.start()
    cache.wait_until_filled()
    assert not cache.is_ready(LAYER)
    assert store.vectors.nearest(LAYER, vectors[9], 5) == expected
    assert expected[0][0] == ids[9]
