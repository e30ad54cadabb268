"""Who is in the picture, on drawn people: detector, vectors, clustering, assignment and corrections as indexd has them.

Pictures of combinations held back from training, with the ten known and two people never trained on, go through the real
call to a real worker; what it finds is grouped by the daemon's own rules while it grows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexd.characters.cluster import cluster
from indexd.characters.growing import Growing, broken_words
from indexd.characters.measure import agreement, over_merge_rate
from indexd.images.crop import face_crop
from indexd.worker.calls import (
    CLIP_H,
    Box,
    DetectorSpec,
    FacesFound,
    FacesSpec,
    FindFaces,
    ModelSpec,
    WorkerSettings,
    overlap,
)
from indexd.worker.workers import Workers
from indexd_toyworld.drawing import SMALLEST_FACE_PX, draw, face_boxes
from indexd_toyworld.evaluate.result import Figure, Progress, Result
from indexd_toyworld.evaluate.sheet import sheet
from indexd_toyworld.paths import toy_models
from indexd_toyworld.sampling import scenes
from indexd_toyworld.world import CHARACTERS, UNKNOWN_CHARACTERS, Scene

SEED = 640
EACH = 110
"""Faces of each person."""
SIDES = (64, 96)
"""Pixels of a scene; four of them make a picture."""
PADDING = FacesSpec().padding
FIRST_SHARE, ROUNDS = 0.4, 10
"""Of the faces, how many are there at first; the rest come in so many parts, each a tenth of what is there."""
BAR = 0.95
OWN = 0.9
"""Of an unknown person's faces, how many must lie in one cluster, and of that cluster's, how many must be theirs."""
STOP_SECONDS = 10.0

PEOPLE = (*CHARACTERS, *UNKNOWN_CHARACTERS)
Background = Literal["keep", "grey"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture and its faces: who, and where as left, top, width and height in shares of the picture."""

    image: Image.Image
    faces: tuple[tuple[str, Box], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """The faces that were found: `rows` (n, dim), `truth` (n,) places in PEOPLE or -1, and picture and box of each.
    `share`: of the drawn faces, how many are among them."""

    rows: NDArray[np.float32]
    truth: NDArray[np.int64]
    places: tuple[tuple[int, Box], ...]
    share: float


def evaluate(weights: Path, progress: Progress) -> Result:
    """Finds, embeds and groups the faces of drawn people, and compares with who is who."""
    progress("drawing people", 0, 4)
    drawn = list(group_pictures(SEED, EACH))
    progress("finding faces", 1, 4)
    seen = see(weights, drawn, "keep")
    progress("finding them on grey", 2, 4)
    grey = see(weights, drawn, "grey")
    progress("clustering", 3, 4)
    labels = cluster(seen.rows)
    known = seen.truth < len(CHARACTERS)
    return Result(
        title="Faces and characters",
        figures=(
            Figure("faces found", seen.share, least=BAR, remark=f"of {sum(len(one.faces) for one in drawn)} drawn"),
            Figure(
                "ARI of the ten known",
                agreement(seen.truth[known], labels[known]),
                least=BAR,
                remark=f"{len(labels)} faces as the detector finds them, clustered by indexd",
            ),
            Figure("ARI with the two unknown", agreement(seen.truth, labels), least=BAR),
            *(
                Figure(f"{who} in a cluster of their own", _own_cluster(labels, seen.truth == PEOPLE.index(who)), OWN)
                for who in UNKNOWN_CHARACTERS
            ),
            Figure("pairs wrongly together", over_merge_rate(seen.truth, labels)),
            Figure(
                'ARI with `background = "grey"`',
                agreement(grey.truth, cluster(grey.rows)),
                remark="instead of `keep`, all twelve",
            ),
            *_growing(seen),
        ),
        sheets={"faces": _shown(drawn, seen, labels)},
    )


def group_pictures(seed: int, each: int) -> Iterator[Drawn]:
    """Pictures of two by two scenes, in which each of the twelve has about `each` faces, alone or beside another."""
    random = Random(f"{seed} groups")
    wanted = dict.fromkeys(PEOPLE, each)
    chosen: list[Scene] = []
    for scene in scenes(seed, each * 60, split="held_out") + scenes(seed, each * 3, split="all", unknown=True):
        people = [face.who for face in scene.faces]
        if people and not scene.flaw and all(wanted[who] > 0 for who in people):
            chosen.append(scene)
            for who in people:
                wanted[who] -= 1
    random.shuffle(chosen)
    for start in range(0, len(chosen) - 3, 4):
        yield _pasted(chosen[start : start + 4], random.choice(SIDES))


def see(weights: Path, drawn: Sequence[Drawn], background: Background) -> Seen:
    """What indexd's worker finds in these pictures."""
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
        workers = Workers(settings)
        try:
            found: FacesFound = workers.submit(FindFaces(tuple(paths))).result()
        finally:
            workers.stop(STOP_SECONDS)
    places = [(number, region) for number, regions in enumerate(found.regions) for region in regions]
    places = [(number, region) for number, region in places if region.row is not None]
    truth = [_who(drawn[number], region.box) for number, region in places]
    right = len({(number, who) for (number, _), who in zip(places, truth, strict=True) if who is not None})
    return Seen(
        rows=found.vectors[[region.row for _, region in places]],
        truth=np.array([PEOPLE.index(who[0]) if who is not None else -1 for who in truth], np.int64),
        places=tuple((number, region.box) for number, region in places),
        share=right / sum(len(one.faces) for one in drawn),
    )


def _growing(seen: Seen) -> tuple[Figure, ...]:
    """Identity over ten clusterings of a growing library, with and without words said against the evidence."""
    order = np.random.default_rng(SEED).permutation(len(seen.rows))
    ends = [round(len(order) * FIRST_SHARE)]
    for _ in range(ROUNDS):
        ends.append(min(round(ends[-1] * 1.1), len(order)))
    parts = [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    first, *rest = [(seen.rows[part], seen.truth[part]) for part in parts]
    library = Growing(*first)
    grown = [library.grow(*part) for part in rest]
    broken, words = broken_words(Growing(*first), rest)
    return (
        Figure(
            "faces that keep their character, worst of ten",
            min(one.stable for one in grown),
            least=0.99,
            remark=f"{len(parts[0])} faces growing to {ends[-1]}, all clustered again each time",
        ),
        Figure("assignment on arrival: precision, worst of ten", min(one.precision for one in grown), least=0.95),
        Figure("assignment on arrival: recall, mean of ten", float(np.mean([one.recall for one in grown]))),
        Figure("ARI after the ten", agreement(library.truth, library.labels), least=BAR),
        Figure("pairs wrongly together after the ten", over_merge_rate(library.truth, library.labels)),
        Figure(
            "corrections undone by them", float(broken), most=0.0, remark=f"of {words} faces: merged, split, confirmed"
        ),
    )


def _pasted(four: Sequence[Scene], side: int) -> Drawn:
    image = Image.new("RGB", (2 * side, 2 * side))
    faces: list[tuple[str, Box]] = []
    for place, scene in enumerate(four):
        x, y = place % 2 * side, place // 2 * side
        image.paste(Image.fromarray(draw(scene, side)), (x, y))
        for who, left, top, right, bottom in face_boxes(scene, side):
            edges = (x + left, y + top, right - left, bottom - top)
            faces.append(
                (who, (edges[0] / (2 * side), edges[1] / (2 * side), edges[2] / (2 * side), edges[3] / (2 * side)))
            )
    return Drawn(image, tuple(faces))


def _who(picture: Drawn, box: Box) -> tuple[str, int] | None:
    """The drawn face under a found one: who, and which of the picture's; None where there is none."""
    shared, place = max(((overlap(box, face[1]), place) for place, face in enumerate(picture.faces)), default=(0.0, 0))
    return (picture.faces[place][0], place) if shared >= 0.5 else None


def _own_cluster(labels: NDArray[np.int64], theirs: NDArray[np.bool_]) -> float:
    """The smaller of two shares: of their faces in their largest cluster, and of that cluster's faces that are theirs."""
    clustered = labels[theirs & (labels >= 0)]
    if not len(clustered):
        return 0.0
    largest = np.bincount(clustered).argmax()
    inside = float((labels[theirs] == largest).sum())
    return min(inside / float(theirs.sum()), inside / float((labels == largest).sum()))


def _shown(drawn: Sequence[Drawn], seen: Seen, labels: NDArray[np.int64]) -> Image.Image:
    """Three faces of each, as they are cut out, with the group they fell into."""
    chosen = [place for who in range(len(PEOPLE)) for place in np.flatnonzero(seen.truth == who)[:3].tolist()]
    crops = [face_crop(drawn[seen.places[one][0]].image, seen.places[one][1], PADDING, grey=False) for one in chosen]
    return sheet(crops, [f"{PEOPLE[seen.truth[one]]}: group {labels[one]}" for one in chosen])
