"""Characters as a library grows: identity over ten clusterings, assignment of new faces, and what it costs a face.

Made-up faces of known truth unless `--vectors FILE.npz` is given (arrays `vectors` (n, dim) and `truth` (n,), -1 = nobody's:
the toy world's drawn characters through its own detector and embedder, or your own); then only the grouping is measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.faces import Faces, made_up
from bench.report import line, p50_p95
from indexd.characters.assign import References, described_from
from indexd.characters.cluster import cluster
from indexd.characters.growing import Growing
from indexd.characters.measure import agreement, over_merge_rate
from indexd.characters.vectors import unit

DIM, FACES, CHARACTERS = 1024, 4000, 40
ROUNDS = 10
ASSIGNED_CHARACTERS = 1000
OWN = 0.25


def grouping(faces: Faces, what: str) -> None:
    """How well one clustering puts these faces together."""
    start = time.perf_counter()
    labels = cluster(faces.rows)
    seconds = time.perf_counter() - start
    line(f"{what}: {len(labels)} faces clustered", seconds, "s")
    line(f"{what}: adjusted Rand index", agreement(faces.truth, labels), "", bar=">= .97")
    line(f"{what}: pairs wrongly together", over_merge_rate(faces.truth, labels) * 100, "%")


def growing() -> None:
    """Ten times a tenth of new faces: assigned as they come, then all clustered again."""
    first = made_up(FACES, DIM, characters=CHARACTERS, own=OWN)
    library = Growing(first.rows, first.truth)
    grown = [library.grow(part.rows, part.truth) for part in _parts(library)]
    line("faces that keep their character, worst of ten", min(one.stable for one in grown) * 100, "%", bar=">= 99")
    line("assignment: precision, worst of ten", min(one.precision for one in grown) * 100, "%")
    line("assignment: recall, mean of ten", float(np.mean([one.recall for one in grown])) * 100, "%")
    line("after ten: adjusted Rand index", agreement(library.truth, library.labels), "", bar=">= .97")
    line("after ten: pairs wrongly together", over_merge_rate(library.truth, library.labels) * 100, "%")


def _parts(library: Growing) -> Iterator[Faces]:
    for part in range(1, ROUNDS + 1):
        yield made_up(len(library.rows) // 10, DIM, characters=CHARACTERS, part=part, own=OWN)


def assigning() -> None:
    """What it costs to give one face to one of a thousand characters."""
    faces = made_up(ASSIGNED_CHARACTERS * 20, DIM, characters=ASSIGNED_CHARACTERS, noise=0.0, own=OWN)
    references = _described(faces.rows, faces.truth + 1)
    asked = made_up(ASSIGNED_CHARACTERS * 16, DIM, characters=ASSIGNED_CHARACTERS, part=1, own=OWN).rows[:512]
    references.nearest(asked[:1])
    seconds = []
    for row in asked:
        start = time.perf_counter()
        references.nearest(row[None])
        seconds.append((time.perf_counter() - start) * 1000)
    p50, p95 = p50_p95(seconds)
    line(f"one face among {ASSIGNED_CHARACTERS} characters, p50", p50, "ms", bar="<= 1 ms")
    line(f"one face among {ASSIGNED_CHARACTERS} characters, p95", p95, "ms")
    start = time.perf_counter()
    references.nearest(asked)
    line("a face in a batch of 512", (time.perf_counter() - start) / len(asked) * 1000, "ms")


def _described(rows: NDArray[np.float32], character: NDArray[np.int64]) -> References:
    references = References()
    for one in sorted(set(character.tolist()) - {0}):
        mine = np.flatnonzero(character == one)
        references.describe(one, rows[described_from(mine, np.zeros(len(mine), np.bool_))])
    return references


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, help="measure the grouping of these instead")
    given = parser.parse_args()
    if given.vectors is not None:
        with np.load(given.vectors) as read:
            faces = Faces(unit(read["vectors"].astype(np.float32)), read["truth"].astype(np.int64))
        grouping(faces, given.vectors.stem)
        return
    grouping(made_up(FACES, DIM, characters=CHARACTERS, own=OWN), "made up")
    growing()
    assigning()


if __name__ == "__main__":
    main()
