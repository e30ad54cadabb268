"""Queries to a large library: from codes in memory, through sqlite-vec, and by brute force.

The library is synthetic in the shape of real ones (bench/support/synthetic_vectors.py, bench/support/synthetic_library.py). The same run
measures sqlite-vec's scan of the bits, numpy brute force and faiss flat over float32 on the same vectors, one thread each.

    python -m bench.search_million --images 1000000 --folder /somewhere/with/12/GB
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import apsw
import faiss
import numpy as np
import psutil
import sqlite_vec
from numpy.typing import NDArray

from bench.support import synthetic_library
from bench.support.report import p50_p95, print_result
from bench.support.synthetic_vectors import SyntheticLayer, mean_cosine
from indexd.indexing.stages import LAYERS
from indexd.process_lifecycle import SWITCH_INTERVAL_SECONDS
from indexd.search.query.query_embedder import FakeQueryEmbedder
from indexd.search.query.term_rules import TERM_RULES
from indexd.search.search import Search
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.vectors.code_tables import classify_fill_failure
from indexd.vector_index.quantize import ROTATION_SEED, quantize
from indexd.vector_index.vector_cache import VectorCache
from indexd.worker.calls import Embedded
from indexd_schemas.api.requests import SearchRequest, SearchTerm, TermKind
from tests.unit.store.sample_rows import take_vectors

QueryVectors = NDArray[np.float32]

LAYER = "clip_h"
FUSED = ("bge_prompt", "clip_l", "clip_h")
K = 20
QUERIES = 100
SLOW_QUERIES = 10
ALL_LAYER_IMAGES = 20_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the library (or use the one in --folder), measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="keep the index here, and use it again if it is there")
    asked = parser.parse_args(arguments)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="indexd-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _measure(folder / "index.db", asked.images)
    finally:
        if asked.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def _measure(index: Path, images: int) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    faiss.omp_set_num_threads(1)
    there = index.exists()
    with SqliteStore.open(index) as store:
        if not there:
            built = synthetic_library.build(store, images, FUSED, ALL_LAYER_IMAGES)
            five = built.five_images / built.five_seconds
            print_result("images with five vectors inserted", five, "images/s", bar=">= 2000")
            print_result("records alone", images / built.record_seconds, "images/s")
        images = min(images, store.images.count())
    bytes_on_disk = sum(file.stat().st_size for file in index.parent.glob(index.name + "*"))
    print_result(f"file of {images} images, {len(FUSED)} layers", bytes_on_disk / 1e9, "GB")
    # Measure the daemon's part first, while the process is small: the float32 library takes ten times the memory.
    with SqliteStore.open(index) as store:
        _whole_queries(store)
        _fulltext(store)
    library = np.empty((images, synthetic_library.DIMS[LAYER]), dtype=np.float32)
    _fill_library(library)
    print_result("mean cosine of two images", mean_cosine(library[:20_000]), "")
    with SqliteStore.open(index) as store:
        _single_layer(store, library)
        _filtered(store, library)
        del library
        _queries_while_importing(store, images)


def _fill_library(library: QueryVectors) -> None:
    """The rows of LAYER in the order of synthetic_library.build: row i is image i + 1."""
    step = synthetic_library.BATCH
    cone = SyntheticLayer(library.shape[1])
    for start in range(0, len(library), step):
        part = library[start : start + step]
        part[:] = cone.rows(start // step, len(part))


def _single_layer(store: IndexStore, library: QueryVectors) -> None:
    cone = SyntheticLayer(library.shape[1])
    image_queries, text_queries = cone.image_queries(QUERIES), cone.text_queries(QUERIES)
    truth, brute = _numpy_nearest(library, image_queries[:SLOW_QUERIES])
    _, flat = _faiss_nearest(library, image_queries[:SLOW_QUERIES])
    exact = {"images": _exact_nearest(library, image_queries), "texts": _exact_nearest(library, text_queries)}
    print_result("numpy brute force over float32", 1e3 * brute, "ms", 1e3 * flat, "faiss flat")

    bits, _ = _time_calls(_sqlite_vec_scan(store), image_queries[:SLOW_QUERIES])
    _print_percentiles("sqlite-vec's own scan of the bits, without exact scores", bits)
    tables, found = _time_calls(lambda one: store.vectors.nearest(LAYER, one, K), image_queries[:SLOW_QUERIES])
    _print_percentiles("without the daemon, through the codes of vec0", tables, flat, "faiss flat", "<= 400 ms")
    print_result("  recall@20", _recall(found, truth), "", bar=">= 0.99")

    before = _resident_bytes()
    began = time.perf_counter()
    with _vector_cache(store) as cache:
        print_result("codes of three layers read into memory", time.perf_counter() - began, "s")
        print_result("  they take", cache.nbytes / 1e6, "MB", (_resident_bytes() - before) / 1e6, "resident grew by")
        for name, queries, bar in (("images", image_queries, "p50 <= 9, p95 <= 15 ms"), ("texts", text_queries, "")):
            seconds, found = _time_calls(lambda one: store.vectors.nearest(LAYER, one, K), queries)
            _print_percentiles(f"one layer, {name}", seconds, flat, "faiss flat", bar)
            print_result("  recall@20", _recall(found, exact[name]), "", bar=">= 0.99" if bar else "")


def _sqlite_vec_scan(store: IndexStore) -> Callable[[QueryVectors], list[Any]]:
    """The K nearest codes found by sqlite-vec's `MATCH`."""
    in_use = store.vectors.active_codes(LAYER)
    assert in_use is not None
    connection = apsw.Connection(str(store.path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    table = f"codes_{in_use[0].revision_id}_{in_use[0].generation}"
    query = f"SELECT image_id FROM {table} WHERE code MATCH vec_bit(?) AND k = {K}"
    return lambda one: connection.execute(query, (quantize(one[None, :], None, ROTATION_SEED).tobytes(),)).fetchall()


def _filtered(store: IndexStore, library: QueryVectors) -> None:
    """Check that filters of every selectivity lose no hits."""
    queries = SyntheticLayer(library.shape[1]).image_queries(QUERIES)
    with _vector_cache(store):
        for name, filters in synthetic_library.FILTERS_BY_SHARE.items():
            seconds, found = _time_calls(store.filters.ids, [filters] * SLOW_QUERIES)
            _print_percentiles(f"filter that leaves {name}", seconds)
            ids = found[0]
            left = ids.array[ids.array <= len(library)]
            rows = _exact_nearest(library[left - 1], queries)[:, : len(left)] - 1
            exact = left[rows]
            seconds, found = _time_calls(lambda one, ids=ids: store.vectors.nearest(LAYER, one, K, ids), queries)  # type: ignore[misc]
            _print_percentiles(f"  one layer among {len(left)}", seconds)
            print_result("  recall@20", _recall(found, exact), "", bar=">= 0.99")


def _whole_queries(store: IndexStore) -> None:
    """Complete queries as in the daemon: filters, candidates, calibration, fusion, rows."""
    ids = np.random.default_rng(3).integers(1, store.images.count(), QUERIES).tolist()
    with _vector_cache(store):
        search = Search(store, _embedder())
        alone = [SearchRequest(terms=(SearchTerm(kind="similar", value=f"id:{number}"),)) for number in ids]
        seconds, _ = _time_calls(search.query, alone)
        _print_percentiles("whole question, one layer", seconds, bar="p50 <= 9, p95 <= 15 ms")
        kinds = _three_kinds()
        fused = [
            SearchRequest(
                terms=tuple(
                    SearchTerm(kind=kind, value=f"id:{number}" if kind == "similar" else "w900") for kind in kinds
                ),
                filters=("sampler:heun",),
            )
            for number in ids
        ]
        seconds, _ = _time_calls(search.query, fused)
        _print_percentiles(f"whole question, {' + '.join(kinds)}, 5 % filter", seconds, bar="p95 <= 60 ms")


def _three_kinds() -> list[TermKind]:
    """One kind of term for each layer of FUSED that has one, filled up to three."""
    by_layer: dict[str, TermKind] = {}
    for kind, rule in TERM_RULES.items():
        if rule.layer in FUSED:
            by_layer.setdefault(rule.layer, kind)
    more = [kind for kind in TERM_RULES if kind not in by_layer.values()]
    return [*by_layer.values(), *more][:3]


def _embedder() -> FakeQueryEmbedder:
    """Returns the same vector for every text of a layer, because model time is not measured here."""
    cones = {LAYERS[name].role: (name, SyntheticLayer(synthetic_library.DIMS[name])) for name in FUSED}
    known = {
        role: cone.text_queries(1) if name == LAYER else cone.image_queries(1) for role, (name, cone) in cones.items()
    }
    return FakeQueryEmbedder(lambda call: Embedded(known[call.role], "bench"))


def _fulltext(store: IndexStore) -> None:
    for words in ("w12000", "w900", "w100", "w30", "w1", "w20 w60", '"w2 w3"', "w123*"):
        hits = len(store.fulltext.match(words, 1_000_000))
        seconds, _ = _time_calls(lambda one: store.fulltext.match(one, 1000), [words] * SLOW_QUERIES)
        _print_percentiles(f"full text {words}, {hits} hits", seconds, bar="p95 <= 50 ms")


def _queries_while_importing(store: SqliteStore, images: int) -> None:
    """The same queries while idle, and beside a thread that inserts images with vectors at full speed."""
    queries = SyntheticLayer(synthetic_library.DIMS[LAYER]).image_queries(QUERIES)
    root = store.roots.ensure(b"/pictures", "images").id
    revisions = {name: revision.id for name in FUSED if (revision := store.vectors.active_revision(name)) is not None}
    batch = synthetic_library.BATCH
    unit = {name: SyntheticLayer(synthetic_library.DIMS[name]).rows(-2, batch) for name in FUSED}
    enough = threading.Event()
    brought: list[int] = []

    def bring() -> None:
        for start in range(images, 10 * images + 10_000_000, batch):
            if enough.is_set():
                return
            recorded = store.images.ingest(list(synthetic_library.scanned_files(root, start, batch)), 0.0)
            ids = [one.image_id or 0 for one in recorded]
            for name, revision_id in revisions.items():
                store.vectors.put(name, revision_id, ids, unit[name])
            brought.extend(ids)

    def ask(one: QueryVectors) -> list[tuple[int, float]]:
        time.sleep(0.01)
        return store.vectors.nearest(LAYER, one, K)

    with _vector_cache(store):
        quiet, _ = _time_calls(ask, queries)
        thread = threading.Thread(target=bring)
        thread.start()
        time.sleep(1.0)
        began, before = time.perf_counter(), len(brought)
        busy, _ = _time_calls(ask, np.concatenate([queries] * 3))
        rate = (len(brought) - before) / (time.perf_counter() - began)
        enough.set()
        thread.join()
        pause = 0.01
        was = 1e3 * (p50_p95(quiet.wall)[1] - pause)
        print_result(
            "question while importing, p95", 1e3 * (p50_p95(busy.wall)[1] - pause), "ms", was, "quiet", "<= 3x"
        )
        print_result("  brought in meanwhile", rate, "images/s")
        began = time.perf_counter()
        take_vectors(store, brought)
        print_result("  taken away again", len(brought) / (time.perf_counter() - began), "images/s")


@contextlib.contextmanager
def _vector_cache(store: IndexStore) -> Iterator[VectorCache]:
    """The codes of FUSED in memory."""
    cache = VectorCache(store.vectors, FUSED, classify_fill_failure, _print_failure)
    cache.start()
    cache.wait_until_filled()
    try:
        yield cache
    finally:
        cache.stop()


def _print_failure(error: BaseException) -> None:
    print(f"the cache failed: {error!r}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class CallSeconds:
    """Wall time of each call, and CPU time of this thread."""

    wall: list[float]
    cpu: list[float]


def _time_calls(call: Callable[[Any], Any], asked: Sequence[Any] | QueryVectors) -> tuple[CallSeconds, list[Any]]:
    """Durations and results of each call. An extra first call excludes one-time costs."""
    call(asked[0])
    seconds, answers = CallSeconds([], []), []
    for one in asked:
        began, used = time.perf_counter(), time.thread_time()
        answers.append(call(one))
        seconds.cpu.append(time.thread_time() - used)
        seconds.wall.append(time.perf_counter() - began)
    return seconds, answers


def _print_percentiles(
    what: str, seconds: CallSeconds, limit: float | None = None, name: str = "", bar: str = ""
) -> None:
    """Print both percentiles of wall time, and CPU time; they differ widely on a busy machine."""
    for label, value in zip(("p50", "p95"), p50_p95(seconds.wall), strict=True):
        print_result(f"{what}, {label}", 1e3 * value, "ms", None if limit is None else 1e3 * limit, name, bar)
    p50, p95 = p50_p95(seconds.cpu)
    print_result("  of it on the processor, p50", 1e3 * p50, "ms", 1e3 * p95, "p95")


def _recall(found: Sequence[Sequence[tuple[int, float]]], exact: NDArray[np.int64]) -> float:
    """Mean share of the exact rows that were found."""
    shares = [len({i for i, _ in hits} & set(row.tolist())) / len(row) for hits, row in zip(found, exact, strict=True)]
    return float(np.mean(shares))


def _faiss_nearest(library: QueryVectors, queries: QueryVectors) -> tuple[NDArray[np.int64], float]:
    """Ids (row + 1) of the K nearest by faiss's flat float32 scan, and seconds per query, one query at a time."""
    began = time.perf_counter()
    rows = [_exact_nearest(library, one[None, :])[0] for one in queries]
    return np.stack(rows), (time.perf_counter() - began) / len(queries)


def _exact_nearest(library: QueryVectors, queries: QueryVectors) -> NDArray[np.int64]:
    """Exact ids (row + 1) of the K nearest of each query."""
    found: NDArray[np.int64] = faiss.knn(queries, library, K, metric=faiss.METRIC_INNER_PRODUCT)[1] + 1
    return found


def _numpy_nearest(library: QueryVectors, queries: QueryVectors) -> tuple[NDArray[np.int64], float]:
    """The same by numpy's matrix product."""
    began = time.perf_counter()
    rows = []
    for one in queries:
        scores = library @ one
        best = np.argpartition(-scores, K)[:K]
        rows.append(best[np.argsort(-scores[best])])
    return np.stack(rows) + 1, (time.perf_counter() - began) / len(queries)


def _resident_bytes() -> float:
    """Resident memory of this process in bytes."""
    return float(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
