"""Clustering of faces with known truth: ours at 10 000, 50 000 and 100 000 x 1024, hdbscan and scikit-learn where feasible.

Each method runs in its own process on two threads, so the printed memory is that of the clustering alone. It reads
half-precision vectors from a file, as the worker does. `python -m bench.face_clustering 10000 50000` sets other sizes.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from bench.support.report import print_result
from bench.support.synthetic_faces import make_faces

DIM = 1024
SIZES = (10_000, 50_000, 100_000)
SECONDS_BAR = {50_000: "<= 30 s", 100_000: "<= 90 s"}
# Beyond these sizes the methods take minutes: a few thousand raw vectors of 1024 dimensions, ten thousand reduced ones.
RAW_SIZES, REDUCED_SIZES = (2_000, 5_000), (5_000, 10_000)
THREADS = 2
# Replaces the generator's default: faces of one character have a cosine of about .75, like drawn ones.
INDIVIDUAL_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class ClusteringRun:
    """Result of one method: duration, peak memory of its process in MB, and labels."""

    seconds: float
    megabytes: float
    labels: np.ndarray


def run_method(method: str, path: Path) -> ClusteringRun:
    """Cluster the vectors of a file by the named method, in a separate process."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        return pool.apply(_run_in_process, (method, str(path)))


def _run_in_process(method: str, path: str) -> ClusteringRun:
    import faiss

    from indexd.characters.clustering.hdbscan_clustering import REDUCED_DIM, cluster, reduce_dimensions
    from indexd.characters.clustering.vector_file import open_vector_file

    faiss.omp_set_num_threads(THREADS)
    rows = open_vector_file(path, DIM)
    start = time.perf_counter()
    if method == "ours":
        labels = cluster(rows)
    else:
        if method.endswith("reduced"):
            taken = reduce_dimensions(rows, REDUCED_DIM, 0, lambda _stage, _done, _total: None)
        else:
            taken = rows.astype(np.float32)
        if method.startswith("hdbscan"):
            import hdbscan

            labels = hdbscan.HDBSCAN(min_cluster_size=10, core_dist_n_jobs=THREADS).fit_predict(taken)
        else:
            from sklearn.cluster import HDBSCAN

            labels = HDBSCAN(min_cluster_size=10, n_jobs=THREADS, copy=True).fit_predict(taken)
    seconds = time.perf_counter() - start
    if sys.platform == "win32":
        peak = psutil.Process().memory_info().peak_wset / (1 << 20)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return ClusteringRun(seconds, peak, np.asarray(labels))


def main(sizes: tuple[int, ...]) -> None:
    """Print duration, peak memory, agreement with the truth and wrongly joined pairs for each size."""
    from indexd.characters.clustering.vector_file import write_vector_file
    from indexd.characters.evaluation.clustering_metrics import adjusted_rand_index, over_merge_rate

    for count in sorted({*sizes, *RAW_SIZES}):
        faces = make_faces(count, DIM, individual_share=INDIVIDUAL_SHARE)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "faces.f16"
            write_vector_file(path, [faces.rows])
            methods = ["ours"] if count in sizes or count in RAW_SIZES else []
            methods += ["hdbscan", "scikit-learn"] if count in RAW_SIZES else []
            methods += ["hdbscan, reduced", "scikit-learn, reduced"] if count in REDUCED_SIZES else []
            for method in methods:
                done = run_method(method, path)
                bar = SECONDS_BAR.get(count, "") if method == "ours" else ""
                what = f"{count} faces, {method}"
                print_result(what, done.seconds, "s", bar=bar)
                print_result(f"{what}: peak memory", done.megabytes, "MB", bar="<= 1500 MB" if bar else "")
                print_result(
                    f"{what}: adjusted Rand index",
                    adjusted_rand_index(faces.truth, done.labels),
                    "",
                    bar=">= .97" if bar else "",
                )
                print_result(f"{what}: pairs wrongly together", over_merge_rate(faces.truth, done.labels) * 100, "%")


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
