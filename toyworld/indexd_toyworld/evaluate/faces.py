"""Do the vectors of faces fall into characters? Crops from held-out pictures, and of people never trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hdbscan import HDBSCAN
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from indexd_toyworld.crops import padded_crop
from indexd_toyworld.drawing import draw, face_boxes
from indexd_toyworld.evaluate.judge import Judge
from indexd_toyworld.evaluate.result import Figure, Progress, Result
from indexd_toyworld.evaluate.sheet import sheet
from indexd_toyworld.sampling import scenes
from indexd_toyworld.world import CHARACTERS, UNKNOWN_CHARACTERS

SEED = 640
EACH = 30
"""Crops of each person."""
PADDING = 0.25
"""Put around a face on each side, as indexd does unless told otherwise."""
SMALLEST = 5
BAR = 0.95
OWN = 0.9
"""Of an unknown person's crops, how many must lie in one cluster, and of that cluster's, how many must be theirs."""


def evaluate(weights: Path, progress: Progress) -> Result:
    """Clusters the crops' vectors with HDBSCAN and compares with who is who."""
    judge = Judge(weights)
    progress("cropping faces", 0, 2)
    crops, people = face_crops()
    vectors = judge.pictures(crops)
    progress("clustering", 1, 2)
    groups = HDBSCAN(min_cluster_size=SMALLEST).fit_predict(vectors.astype(np.float64))
    names = np.array(people)
    known = np.isin(names, tuple(CHARACTERS))
    own = {who: _own_cluster(groups, names, who) for who in UNKNOWN_CHARACTERS}
    shown = [place for who in (*CHARACTERS, *UNKNOWN_CHARACTERS) for place in np.flatnonzero(names == who)[:3]]
    return Result(
        title="Faces",
        figures=(
            Figure(
                "ARI of the ten known",
                float(adjusted_rand_score(names[known], groups[known])),
                least=BAR,
                remark=f"{EACH} crops each from held-out pictures, HDBSCAN over all twelve",
            ),
            Figure("ARI with the two unknown", float(adjusted_rand_score(names, groups))),
            *(Figure(f"{who} in a cluster of their own", share, least=OWN) for who, share in own.items()),
        ),
        sheets={
            "faces": sheet(
                [Image.fromarray(crops[place]) for place in shown],
                [f"{people[place]}: group {groups[place]}" for place in shown],
            )
        },
    )


def face_crops() -> tuple[list[NDArray[np.uint8]], list[str]]:
    """EACH crops of each of the twelve, alone or beside another, with varied backgrounds and expressions."""
    wanted = dict.fromkeys((*CHARACTERS, *UNKNOWN_CHARACTERS), EACH)
    crops, people = [], []
    pool = scenes(SEED, 6000, split="held_out") + scenes(SEED, 200, split="all", unknown=True)
    for scene in pool:
        if scene.flaw or not any(wanted[face.who] for face in scene.faces):
            continue
        pixels = draw(scene)
        for who, *box in face_boxes(scene):
            if wanted[who]:
                wanted[who] -= 1
                crops.append(padded_crop(pixels, (box[0], box[1], box[2], box[3]), PADDING))
                people.append(who)
    return crops, people


def _own_cluster(groups: NDArray[np.int64], names: NDArray[np.str_], who: str) -> float:
    """The smaller of two shares: of their crops in their largest cluster, and of that cluster's crops that are theirs."""
    theirs = groups[names == who]
    clustered = theirs[theirs >= 0]
    if not len(clustered):
        return 0.0
    largest = np.bincount(clustered).argmax()
    inside = float((theirs == largest).sum())
    return min(inside / len(theirs), inside / float((groups == largest).sum()))
