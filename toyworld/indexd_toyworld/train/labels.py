"""Numeric labels of scenes for the attribute heads."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from indexd_toyworld.world import (
    BACKGROUNDS,
    BEARDS,
    CHARACTERS,
    COLOURS,
    EXPRESSIONS,
    EYES,
    FLAWS,
    GLASSES,
    HAIRS,
    HATS,
    PLACES,
    SHAPES,
    SIZES,
    SKINS,
    STYLES,
    CharacterLook,
    Scene,
)

SCENE_LABELS: dict[str, tuple[str, ...]] = {
    "kind": ("thing", "things", "face", "faces"),
    "background": tuple(BACKGROUNDS),
    "flaw": ("", *FLAWS),
    "place": PLACES,
    "shape 1": SHAPES,
    "colour 1": tuple(COLOURS),
    "size 1": SIZES,
    "shape 2": SHAPES,
    "colour 2": tuple(COLOURS),
    "size 2": SIZES,
    "who 1": tuple(CHARACTERS),
    "expression 1": EXPRESSIONS,
    "who 2": tuple(CHARACTERS),
    "expression 2": EXPRESSIONS,
}
"""Content of a full caption. 1 is the only or left thing or face, 2 the right one."""
LOOK_LABELS: dict[str, tuple[str, ...]] = {
    "skin": tuple(SKINS),
    "hair": tuple(HAIRS),
    "style": STYLES,
    "hat": tuple(HATS),
    "eyes": EYES,
    "glasses": GLASSES,
    "beard": BEARDS,
}
"""Features of the first face that only the image shows."""
MISSING = -1
ANSWERS = {
    "colour": "colour 1",
    "background": "background",
    "shape": "shape 1",
    "identity": "who 1",
    "expression": "expression 1",
}
"""The column of SCENE_LABELS that answers each kind of question."""


def scene_labels(scenes: Sequence[Scene]) -> Tensor:
    """One row for each scene, one column for each name in SCENE_LABELS and LOOK_LABELS; MISSING if it does not apply."""
    return torch.tensor([_scene_row(scene) for scene in scenes])


def look_labels(looks: Sequence[CharacterLook]) -> Tensor:
    """The columns of LOOK_LABELS."""
    return torch.tensor([_look_row(look) for look in looks])


def answer_labels(rows: Tensor, kind: str) -> Tensor:
    """The right answer to a kind of question for each row; MISSING if it is ambiguous."""
    names = list(SCENE_LABELS)
    single = rows[:, names.index("kind")] % 2 == 0
    return rows[:, names.index(ANSWERS[kind])].masked_fill(~single, MISSING)


class AttributeHeads(nn.Module):  # type: ignore[misc]  # torch is not followed
    """One linear classifier for each column; columns that lag behind weigh more."""

    def __init__(self, width: int, columns: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self._sizes = [len(words) for words in columns.values()]
        self.linear = nn.Linear(width, sum(self._sizes))

    def forward(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy over labelled columns, relative to chance.

        Each column weighs in proportion to that value, so that easy colours do not dominate shapes.
        """
        losses = torch.stack(
            [
                functional.cross_entropy(scores, wanted, ignore_index=MISSING) / log(size)
                for scores, wanted, size in zip(
                    self.linear(vectors).split(self._sizes, dim=1), targets.T, self._sizes, strict=True
                )
                if bool((wanted != MISSING).any())
            ]
        )
        lag = losses.detach().clamp(0.05, 1.5)
        return (losses * lag).sum() / lag.sum()


def _scene_row(scene: Scene) -> list[int]:
    pair = len(scene.things) + len(scene.faces) == 2
    kind = ("thing" if scene.things else "face") + ("s" if pair else "")
    row = [
        SCENE_LABELS["kind"].index(kind),
        SCENE_LABELS["background"].index(scene.background),
        SCENE_LABELS["flaw"].index(scene.flaw),
    ]
    row.append(PLACES.index(scene.things[0].place) if scene.things and not pair else MISSING)
    for place in range(2):
        if place < len(scene.things):
            thing = scene.things[place]
            row += [SHAPES.index(thing.shape), SCENE_LABELS["colour 1"].index(thing.colour), SIZES.index(thing.size)]
        else:
            row += [MISSING] * 3
    for place in range(2):
        if place < len(scene.faces):
            face = scene.faces[place]
            who = SCENE_LABELS["who 1"].index(face.who) if face.who in CHARACTERS else MISSING
            row += [who, EXPRESSIONS.index(face.expression)]
        else:
            row += [MISSING] * 2
    return row + (_look_row(scene.faces[0].look) if scene.faces else [MISSING] * len(LOOK_LABELS))


def _look_row(look: CharacterLook) -> list[int]:
    return [words.index(getattr(look, name)) for name, words in LOOK_LABELS.items()]
