"""Scenes drawn by lot: any number, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from indexd_toyworld.split import held_out
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
    UNKNOWN_CHARACTERS,
    Face,
    Look,
    Scene,
    Thing,
    named_face,
)

Split = Literal["train", "held_out", "all"]

ONE_THING, TWO_THINGS, ONE_FACE = 0.32, 0.24, 0.28
"""Shares of the kinds of scenes; the rest are two faces."""
FLAWED = 0.03


def scenes(seed: int, count: int, split: Split = "train", unknown: bool = False) -> list[Scene]:
    """`count` scenes. With `unknown` they are portraits of the unknown characters only."""
    random = Random(f"{seed} {split} {unknown}")
    found: list[Scene] = []
    while len(found) < count:
        scene = _portrait(random, tuple(UNKNOWN_CHARACTERS)) if unknown else _scene(random)
        if split == "all" or held_out(scene) == (split == "held_out"):
            found.append(scene)
    return found


def strangers(seed: int, count: int) -> list[Scene]:
    """Portraits of people who are none of the characters, known or unknown: each has a look drawn by lot."""
    random = Random(f"{seed} strangers")
    taken = {*CHARACTERS.values(), *UNKNOWN_CHARACTERS.values()}
    found: list[Scene] = []
    while len(found) < count:
        look = stranger(random)
        if look not in taken:
            face = Face("someone", look, random.choice(EXPRESSIONS))
            found.append(Scene(_any(random, BACKGROUNDS), faces=(face,), seed=_seed(random)))
    return found


def stranger(random: Random) -> Look:
    """Any look; half of the people have no hat, most no glasses and no beard."""
    return Look(
        skin=_any(random, SKINS),
        hair=_any(random, HAIRS),
        style=random.choice(STYLES),
        hat=_any(random, HATS) if random.random() < 0.6 else "none",
        eyes=random.choice(EYES),
        glasses=random.choice(GLASSES) if random.random() < 0.7 else "none",
        beard=random.choice(BEARDS) if random.random() < 0.7 else "none",
    )


def _scene(random: Random) -> Scene:
    lot = random.random()
    if lot < ONE_THING:
        return _with(random, things=(_thing(random, random.choice(PLACES)),))
    if lot < ONE_THING + TWO_THINGS:
        left, right = _thing(random, "left"), _thing(random, "right")
        while (left.shape, left.colour) == (right.shape, right.colour):
            right = _thing(random, "right")
        return _with(random, things=(left, right))
    if lot < ONE_THING + TWO_THINGS + ONE_FACE:
        return _portrait(random, tuple(CHARACTERS))
    first, second = random.sample(tuple(CHARACTERS), 2)
    faces = (
        named_face(first, random.choice(EXPRESSIONS), "left"),
        named_face(second, random.choice(EXPRESSIONS), "right"),
    )
    return _with(random, faces=faces)


def _portrait(random: Random, people: Sequence[str]) -> Scene:
    return _with(random, faces=(named_face(random.choice(people), random.choice(EXPRESSIONS)),))


def _thing(random: Random, place: str) -> Thing:
    return Thing(random.choice(SHAPES), _any(random, COLOURS), random.choice(SIZES), place)


def _with(random: Random, things: tuple[Thing, ...] = (), faces: tuple[Face, ...] = ()) -> Scene:
    flaw = random.choice(FLAWS) if random.random() < FLAWED else ""
    return Scene(_any(random, BACKGROUNDS), things, faces, flaw, _seed(random))


def _any(random: Random, words: Mapping[str, object]) -> str:
    return random.choice(tuple(words))


def _seed(random: Random) -> int:
    return random.getrandbits(31)
