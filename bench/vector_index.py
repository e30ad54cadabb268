"""Recall and latency of the code index alone, beside faiss flat and numpy over the same vectors in the same run.

The vectors have the shape of CLIP embeddings (bench/support/synthetic_vectors.py). Candidates found by code are scored
with their float32 vectors, as a caller does; the time of that is part of the latency. One thread each.

    python -m bench.vector_index --vectors 1000000
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.support.report import p50_p95, print_result
from bench.support.synthetic_vectors import SyntheticLayer
from indexd.vector_index import code_matrix
from indexd.vector_index.code_index import CandidateLimits
from indexd.vector_index.code_matrix import CodeMatrix
from indexd.vector_index.estimate import encode_query
from indexd.vector_index.quantize import ROTATION_SEED, code_bytes, quantize

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

DIM = 1024
K = 20
QUERIES = 100
SLOW_QUERIES = 10
BLOCK = 10_000
CANDIDATES = 1000
MEAN_SAMPLE = 10_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the index, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000)
    count = parser.parse_args(arguments).vectors
    faiss.omp_set_num_threads(1)
    code_matrix.ROWS_PER_THREAD = code_matrix.REFINED_ROWS_PER_THREAD = 1 << 40
    layer = SyntheticLayer(DIM)
    library = np.empty((count, DIM), np.float32)
    for start in range(0, count, BLOCK):
        part = library[start : start + BLOCK]
        part[:] = layer.rows(start // BLOCK, len(part))
    mean = library[:MEAN_SAMPLE].mean(axis=0)
    matrix = _build(library, mean)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(library)
    for name, queries in (("images", layer.image_queries(QUERIES)), ("texts", layer.text_queries(QUERIES))):
        print(f"-- queries like {name}")
        truth = [_exact(library, query) for query in queries]
        peers = {
            "faiss flat": _times(
                lambda query: np.asarray(flat.search(query[None, :], K)[1][0], np.int64), queries[:SLOW_QUERIES]
            )[0],
            "numpy": _times(lambda query: _exact(library, query), queries[:SLOW_QUERIES])[0],
        }
        times, found = _times(lambda query: _search(matrix, library, mean, query), queries)
        p50, p95 = p50_p95(times)
        for peer, peer_times in peers.items():
            print_result("code index and exact scores, p50", 1e3 * p50, "ms", 1e3 * p50_p95(peer_times)[0], peer)
        print_result("code index and exact scores, p95", 1e3 * p95, "ms")
        print_result(f"recall@{K}", _recall(found, truth), "", bar=">= 0.99")


def _build(library: Floats, mean: Floats) -> CodeMatrix:
    matrix = CodeMatrix(code_bytes(DIM))
    quantizing = adding = 0.0
    for start in range(0, len(library), BLOCK):
        began = time.perf_counter()
        codes = quantize(library[start : start + BLOCK], mean, ROTATION_SEED)
        quantized = time.perf_counter()
        matrix.put(np.arange(start, start + len(codes), dtype=np.int64), codes)
        quantizing += quantized - began
        adding += time.perf_counter() - quantized
    print_result("quantized", len(library) / quantizing, "vectors/s")
    print_result("added to the index", len(library) / adding, "vectors/s")
    print_result("memory", matrix.nbytes / 1e6, "MB", library.nbytes / 1e6, "float32")
    return matrix


def _search(matrix: CodeMatrix, library: Floats, mean: Floats, query: Floats) -> Ids:
    limits = CandidateLimits(CANDIDATES, K, CANDIDATES)
    candidates = matrix.nearest(encode_query(query, mean, ROTATION_SEED), limits, None).ids
    scores = library[candidates] @ query
    return candidates[np.argsort(-scores)[:K]]


def _exact(library: Floats, query: Floats) -> Ids:
    scores = library @ query
    best = np.argpartition(-scores, K)[:K]
    return best[np.argsort(-scores[best])]


def _times(search: Callable[[Floats], Ids], queries: Floats) -> tuple[list[float], list[Ids]]:
    search(queries[0])
    times, found = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(search(query))
        times.append(time.perf_counter() - began)
    return times, found


def _recall(found: Sequence[Ids], truth: Sequence[Ids]) -> float:
    return sum(len(set(one.tolist()) & set(best.tolist())) for one, best in zip(found, truth, strict=True)) / (
        K * len(truth)
    )


if __name__ == "__main__":
    main()
