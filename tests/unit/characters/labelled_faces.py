"""Generated faces of known identity, and a library that grows step by step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.support.synthetic_faces import SyntheticFaces, make_faces

DIM = 256
CHARACTERS = 8


def faces(count: int = 600, part: int = 0, noise: float = 0.1, own: float = 0.15) -> SyntheticFaces:
    """Faces of the same eight characters, others in each `part`."""
    return make_faces(
        count,
        DIM,
        characters=CHARACTERS,
        part=part,
        noise_share=noise,
        individual_share=own,
        smallest_character=count // 20,
    )


def names_of(character: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[int, int]:
    """Which character (id) stands for which true one: the one most of whose faces it has."""
    found = {}
    for one in range(CHARACTERS):
        ids = character[(truth == one) & (character > 0)]
        if len(ids):
            values, counts = np.unique(ids, return_counts=True)
            found[one] = int(values[counts.argmax()])
    return found
