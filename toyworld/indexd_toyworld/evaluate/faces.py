"""Characters of drawn people: indexd's own detection, vectors, clustering, assignment and corrections.

Held-out images of the ten known and two unknown characters go through a real call to a real worker. The daemon's rules group the
faces while the library grows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd.characters.clustering.hdbscan_clustering import cluster
from indexd.characters.evaluation.clustering_metrics import adjusted_rand_index, over_merge_rate
from indexd.characters.evaluation.growing_library import GrowingLibrary, count_broken_corrections
from indexd.characters.prototypes import centroid
from indexd.images.face_crop import crop_face
from indexd.worker.calls import (
    CLIP_H,
    Box,
    DetectorSpec,
    FacesFound,
    FacesSpec,
    FindFaces,
    ModelSpec,
    WorkerSettings,
)
from indexd.worker.local_workers import LocalWorkers
from indexd_toyworld.drawing import SMALLEST_FACE_PX
from indexd_toyworld.evaluate.contact_sheet import make_sheet
from indexd_toyworld.evaluate.metrics import EvaluationResult, Metric, OnEvaluationProgress
from indexd_toyworld.group_images import ALL_CHARACTERS, GroupImage, find_drawn_face, group_images
from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.world import CHARACTERS, UNKNOWN_CHARACTERS

SEED = 640
FACES_PER_CHARACTER = 110
"""Number of faces of each character."""
PADDING = FacesSpec().padding
FIRST_SHARE, ROUNDS = 0.4, 10
"""Of the faces, how many are there at first; the rest come in so many parts, each a tenth of what is there."""
MIN_ARI = 0.95
MIN_OWN_CLUSTER = 0.9
"""Minimum share of an unknown character's faces in one cluster, and of that cluster's faces that are theirs."""
STOP_SECONDS = 10.0

FaceBackground = Literal["keep", "grey"]


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """The detected faces: `rows` (n, dim), `truth` (n,) as indexes of PEOPLE or -1, and image and box of each.
    `share` is the share of drawn faces among them.
    """

    rows: NDArray[np.float32]
    truth: NDArray[np.int64]
    places: tuple[tuple[int, Box], ...]
    found_share: float


def evaluate(weights: Path, progress: OnEvaluationProgress) -> EvaluationResult:
    """Detects, embeds and groups the faces of drawn people, and compares the groups with the truth."""
    progress("drawing people", 0, 4)
    drawn = list(group_images(SEED, FACES_PER_CHARACTER))
    progress("finding faces", 1, 4)
    seen = find_faces(weights, drawn, "keep")
    progress("finding them on grey", 2, 4)
    grey = find_faces(weights, drawn, "grey")
    progress("clustering", 3, 4)
    labels = cluster(seen.rows)
    known = seen.truth < len(CHARACTERS)
    return EvaluationResult(
        title="Faces and characters",
        metrics=(
            Metric(
                "faces found",
                seen.found_share,
                minimum=MIN_ARI,
                remark=f"of {sum(len(one.faces) for one in drawn)} drawn",
            ),
            Metric(
                "ARI of the ten known",
                adjusted_rand_index(seen.truth[known], labels[known]),
                minimum=MIN_ARI,
                remark=f"{len(labels)} faces as the detector finds them, clustered by indexd",
            ),
            Metric("ARI with the two unknown", adjusted_rand_index(seen.truth, labels), minimum=MIN_ARI),
            *(
                Metric(
                    f"{who} in a cluster of their own",
                    _own_cluster(labels, seen.truth == ALL_CHARACTERS.index(who)),
                    MIN_OWN_CLUSTER,
                )
                for who in UNKNOWN_CHARACTERS
            ),
            Metric("pairs wrongly together", over_merge_rate(seen.truth, labels)),
            Metric(
                "how much nearer to their own than to any other", nearer(seen), remark="cosine, all but the worst 1 %"
            ),
            Metric('the same with `background = "grey"`', nearer(grey)),
            Metric('ARI of all with `background = "grey"`', adjusted_rand_index(grey.truth, cluster(grey.rows))),
            *_growing(seen),
        ),
        sheets={"faces": _shown(drawn, seen, labels)},
    )


def find_faces(weights: Path, drawn: Sequence[GroupImage], background: FaceBackground) -> FoundFaces:
    """The faces that indexd's worker finds in these images."""
    models = toy_models(weights)
    with tempfile.TemporaryDirectory(prefix="toyworld-faces-") as scratch:
        paths = []
        for number, one in enumerate(drawn):
            path = Path(scratch) / f"{number:04}.png"
            one.image.save(path)
            paths.append(os.fsencode(path))
        settings = WorkerSettings(
            {CLIP_H: ModelSpec(CLIP_H, str(models.clip_h), device="cpu", dtype="float32")},
            scratch,
            FacesSpec((DetectorSpec(str(models.detector), min_size_px=SMALLEST_FACE_PX),), background=background),
        )
        workers = LocalWorkers(settings)
        try:
            found: FacesFound = workers.submit(FindFaces(tuple(paths))).result()
        finally:
            workers.stop(STOP_SECONDS)
    places = [(number, one) for number, many in enumerate(found.regions) for one in many if one.row is not None]
    truth = [find_drawn_face(drawn[number], region.box) for number, region in places]
    right = len({(number, who) for (number, _), who in zip(places, truth, strict=True) if who is not None})
    return FoundFaces(
        rows=found.vectors[[region.row or 0 for _, region in places]],
        truth=np.array([ALL_CHARACTERS.index(who[0]) if who is not None else -1 for who in truth], np.int64),
        places=tuple((number, region.box) for number, region in places),
        found_share=right / sum(len(one.faces) for one in drawn),
    )


def _growing(seen: FoundFaces) -> tuple[Metric, ...]:
    """Identity over ten clusterings of a growing library, with and without corrections against the evidence."""
    order = np.random.default_rng(SEED).permutation(len(seen.rows))
    ends = [round(len(order) * FIRST_SHARE)]
    for _ in range(ROUNDS):
        ends.append(min(round(ends[-1] * 1.1), len(order)))
    parts = [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    first, *rest = [(seen.rows[part], seen.truth[part]) for part in parts]
    library = GrowingLibrary(*first)
    grown = [library.grow(*part) for part in rest]
    broken, words = count_broken_corrections(GrowingLibrary(*first), rest)
    return (
        Metric(
            "faces that keep their character, worst of ten",
            min(one.stable for one in grown),
            minimum=0.99,
            remark=f"{len(parts[0])} faces growing to {ends[-1]}, all clustered again each time",
        ),
        Metric("assignment on arrival: precision, worst of ten", min(one.precision for one in grown), minimum=0.95),
        Metric("assignment on arrival: recall, mean of ten", float(np.mean([one.recall for one in grown]))),
        Metric("ARI after the ten", adjusted_rand_index(library.truth, library.labels), minimum=MIN_ARI),
        Metric("pairs wrongly together after the ten", over_merge_rate(library.truth, library.labels)),
        Metric(
            "corrections undone by them",
            float(broken),
            maximum=0.0,
            remark=f"of {words} faces: merged, split, confirmed",
        ),
    )


def nearer(seen: FoundFaces) -> float:
    """1st percentile of: cosine to the own character's mean minus cosine to the nearest other's."""
    ours = seen.truth >= 0
    rows, truth = seen.rows[ours], seen.truth[ours]
    near = rows @ np.stack([centroid(rows[truth == who]) for who in range(len(ALL_CHARACTERS))]).T
    every = np.arange(len(rows))
    own = near[every, truth].copy()
    near[every, truth] = -1.0
    return float(np.quantile(own - near.max(axis=1), 0.01))


def _own_cluster(labels: NDArray[np.int64], theirs: NDArray[np.bool_]) -> float:
    """The smaller of two shares:

    of the character's faces in their largest cluster, and of that cluster's faces that are theirs.
    """
    clustered = labels[theirs & (labels >= 0)]
    if not len(clustered):
        return 0.0
    largest = np.bincount(clustered).argmax()
    inside = float((labels[theirs] == largest).sum())
    return min(inside / float(theirs.sum()), inside / float((labels == largest).sum()))


def _shown(drawn: Sequence[GroupImage], seen: FoundFaces, labels: NDArray[np.int64]) -> Image.Image:
    """Crops of three faces of each character, with their group."""
    chosen = [place for who in range(len(ALL_CHARACTERS)) for place in np.flatnonzero(seen.truth == who)[:3].tolist()]
    crops = [
        crop_face(drawn[seen.places[one][0]].image, seen.places[one][1], PADDING, gray_background=False)
        for one in chosen
    ]
    return make_sheet(crops, [f"{ALL_CHARACTERS[seen.truth[one]]}: group {labels[one]}" for one in chosen])
