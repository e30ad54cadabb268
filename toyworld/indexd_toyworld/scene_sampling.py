"""Random scenes, deterministic for a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from indexd_toyworld.held_out_split import is_held_out
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
    CharacterLook,
    DrawnShape,
    Face,
    Scene,
    named_face,
)

Split = Literal["train", "held_out", "all"]

ONE_SHAPE, TWO_SHAPES, ONE_FACE = 0.32, 0.24, 0.28
"""Shares of the kinds of scenes; the rest are two faces."""
FLAW_PROBABILITY = 0.03


def scenes(seed: int, count: int, split: Split = "train", unknown: bool = False) -> list[Scene]:
    """`count` scenes. With `unknown`, portraits of the unknown characters only."""
    random = Random(f"{seed} {split} {unknown}")
    found: list[Scene] = []
    while len(found) < count:
        scene = _portrait(random, tuple(UNKNOWN_CHARACTERS)) if unknown else _scene(random)
        if split == "all" or is_held_out(scene) == (split == "held_out"):
            found.append(scene)
    return found


def unnamed_portraits(seed: int, count: int) -> list[Scene]:
    """Portraits of strangers with random looks, different from all characters."""
    random = Random(f"{seed} strangers")
    taken = {*CHARACTERS.values(), *UNKNOWN_CHARACTERS.values()}
    found: list[Scene] = []
    while len(found) < count:
        look = random_look(random)
        if look not in taken:
            face = Face("someone", look, random.choice(EXPRESSIONS))
            found.append(Scene(_random_word(random, BACKGROUNDS), faces=(face,), seed=_seed(random)))
    return found


def random_look(random: Random) -> CharacterLook:
    """A random look; half of the people wear no hat, most no glasses and no beard."""
    return CharacterLook(
        skin=_random_word(random, SKINS),
        hair=_random_word(random, HAIRS),
        style=random.choice(STYLES),
        hat=_random_word(random, HATS) if random.random() < 0.6 else "none",
        eyes=random.choice(EYES),
        glasses=random.choice(GLASSES) if random.random() < 0.7 else "none",
        beard=random.choice(BEARDS) if random.random() < 0.7 else "none",
    )


def _scene(random: Random) -> Scene:
    lot = random.random()
    if lot < ONE_SHAPE:
        return _make_scene(random, things=(_random_shape(random, random.choice(PLACES)),))
    if lot < ONE_SHAPE + TWO_SHAPES:
        left, right = _random_shape(random, "left"), _random_shape(random, "right")
        while (left.shape, left.colour) == (right.shape, right.colour):
            right = _random_shape(random, "right")
        return _make_scene(random, things=(left, right))
    if lot < ONE_SHAPE + TWO_SHAPES + ONE_FACE:
        return _portrait(random, tuple(CHARACTERS))
    first, second = random.sample(tuple(CHARACTERS), 2)
    faces = (
        named_face(first, random.choice(EXPRESSIONS), "left"),
        named_face(second, random.choice(EXPRESSIONS), "right"),
    )
    return _make_scene(random, faces=faces)


def _portrait(random: Random, people: Sequence[str]) -> Scene:
    return _make_scene(random, faces=(named_face(random.choice(people), random.choice(EXPRESSIONS)),))


def _random_shape(random: Random, place: str) -> DrawnShape:
    return DrawnShape(random.choice(SHAPES), _random_word(random, COLOURS), random.choice(SIZES), place)


def _make_scene(random: Random, things: tuple[DrawnShape, ...] = (), faces: tuple[Face, ...] = ()) -> Scene:
    flaw = random.choice(FLAWS) if random.random() < FLAW_PROBABILITY else ""
    return Scene(_random_word(random, BACKGROUNDS), things, faces, flaw, _seed(random))


def _random_word(random: Random, words: Mapping[str, object]) -> str:
    return random.choice(tuple(words))


def _seed(random: Random) -> int:
    return random.getrandbits(31)
