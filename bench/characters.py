"""Characters in a growing library: stable identity over ten clusterings, assignment of new faces, and cost per face.

Uses synthetic faces with known truth. `--vectors FILE.npz` measures only the clustering of your own faces: arrays `vectors`
(n, dim) and `truth` (n,), -1 = no character.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.support.report import p50_p95, print_result
from bench.support.synthetic_faces import SyntheticFaces, make_faces
from indexd.characters.clustering.hdbscan_clustering import cluster
from indexd.characters.clustering.vector_file import normalize_rows
from indexd.characters.evaluation.clustering_metrics import adjusted_rand_index, over_merge_rate
from indexd.characters.evaluation.growing_library import GrowingLibrary
from indexd.characters.prototype_matcher import PrototypeMatcher, select_prototype_faces

DIM, FACES, CHARACTERS = 1024, 4000, 40
ROUNDS = 10
ASSIGNED_CHARACTERS = 1000
INDIVIDUAL_SHARE = 0.25


def measure_clustering(faces: SyntheticFaces, what: str) -> None:
    """Print how well one clustering groups these faces."""
    start = time.perf_counter()
    labels = cluster(faces.rows)
    seconds = time.perf_counter() - start
    print_result(f"{what}: {len(labels)} faces clustered", seconds, "s")
    print_result(f"{what}: adjusted Rand index", adjusted_rand_index(faces.truth, labels), "", bar=">= .97")
    print_result(f"{what}: pairs wrongly together", over_merge_rate(faces.truth, labels) * 100, "%")


def measure_growing_library() -> None:
    """Add a tenth of new faces ten times: assign them on arrival, then cluster all faces."""
    first = make_faces(FACES, DIM, characters=CHARACTERS, individual_share=INDIVIDUAL_SHARE)
    library = GrowingLibrary(first.rows, first.truth)
    grown = [library.grow(part.rows, part.truth) for part in _growth_parts(library)]
    print_result(
        "faces that keep their character, worst of ten", min(one.stable for one in grown) * 100, "%", bar=">= 99"
    )
    print_result("assignment: precision, worst of ten", min(one.precision for one in grown) * 100, "%")
    print_result("assignment: recall, mean of ten", float(np.mean([one.recall for one in grown])) * 100, "%")
    print_result("after ten: adjusted Rand index", adjusted_rand_index(library.truth, library.labels), "", bar=">= .97")
    print_result("after ten: pairs wrongly together", over_merge_rate(library.truth, library.labels) * 100, "%")


def _growth_parts(library: GrowingLibrary) -> Iterator[SyntheticFaces]:
    for part in range(1, ROUNDS + 1):
        yield make_faces(
            len(library.rows) // 10, DIM, characters=CHARACTERS, part=part, individual_share=INDIVIDUAL_SHARE
        )


def measure_assignment() -> None:
    """Print the cost of assigning one face to one of a thousand characters."""
    faces = make_faces(
        ASSIGNED_CHARACTERS * 20,
        DIM,
        characters=ASSIGNED_CHARACTERS,
        noise_share=0.0,
        individual_share=INDIVIDUAL_SHARE,
    )
    references = _build_prototypes(faces.rows, faces.truth + 1)
    asked = make_faces(
        ASSIGNED_CHARACTERS * 16, DIM, characters=ASSIGNED_CHARACTERS, part=1, individual_share=INDIVIDUAL_SHARE
    ).rows[:512]
    references.nearest(asked[:1])
    seconds = []
    for row in asked:
        start = time.perf_counter()
        references.nearest(row[None])
        seconds.append((time.perf_counter() - start) * 1000)
    p50, p95 = p50_p95(seconds)
    print_result(f"one face among {ASSIGNED_CHARACTERS} characters, p50", p50, "ms", bar="<= 1 ms")
    print_result(f"one face among {ASSIGNED_CHARACTERS} characters, p95", p95, "ms")
    start = time.perf_counter()
    references.nearest(asked)
    print_result("a face in a batch of 512", (time.perf_counter() - start) / len(asked) * 1000, "ms")


def _build_prototypes(rows: NDArray[np.float32], character: NDArray[np.int64]) -> PrototypeMatcher:
    references = PrototypeMatcher()
    for one in sorted(set(character.tolist()) - {0}):
        mine = np.flatnonzero(character == one)
        references.set_faces(one, rows[select_prototype_faces(mine, np.zeros(len(mine), np.bool_))])
    return references


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, help="measure the grouping of these instead")
    given = parser.parse_args()
    if given.vectors is not None:
        with np.load(given.vectors) as read:
            faces = SyntheticFaces(normalize_rows(read["vectors"].astype(np.float32)), read["truth"].astype(np.int64))
        measure_clustering(faces, given.vectors.stem)
        return
    measure_clustering(make_faces(FACES, DIM, characters=CHARACTERS, individual_share=INDIVIDUAL_SHARE), "made up")
    measure_growing_library()
    measure_assignment()


if __name__ == "__main__":
    main()
