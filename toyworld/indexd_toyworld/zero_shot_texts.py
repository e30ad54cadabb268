"""Zero-shot questions about an image: the possible answers and their texts."""

from __future__ import annotations

from functools import cache
from itertools import product

from indexd_toyworld.captions import BACKGROUND_PHRASES, FACE_FORMS, FACE_FRAMES, PLACE_WORDS, SHAPE_FRAMES, SYNONYMS
from indexd_toyworld.world import BACKGROUNDS, CHARACTERS, COLOURS, EXPRESSIONS, SHAPES

ANSWERS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "shape": SHAPES,
    "identity": tuple(CHARACTERS),
    "expression": EXPRESSIONS,
}
"""Kinds of questions about an image, and their possible answers."""


@cache
def templates(kind: str, answer: str) -> tuple[str, ...]:
    """The texts that express an answer."""
    if kind == "expression":
        words = SYNONYMS[answer]
        return tuple(
            form.format(who=who, expression=word) for form, who, word in product(FACE_FORMS, CHARACTERS, words)
        )
    if kind == "identity":
        looks = [form.format(who=answer, expression=word) for form, word in product(FACE_FORMS, EXPRESSIONS)]
        return tuple(frame.format(text) for frame, text in product(FACE_FRAMES[1:], [answer, *looks]))
    if kind == "background":
        grounds = [ground.format(answer) for ground in BACKGROUND_PHRASES]
        things = [f"a {colour} {shape}" for colour, shape in product(COLOURS, SHAPES)]
        faces = [f"{expression} {who}" for expression, who in product(EXPRESSIONS, CHARACTERS)]
        return tuple(f"{text} {ground}" for text, ground in product(things + faces, grounds))
    colours, shapes = ((answer,), SHAPES) if kind == "colour" else (tuple(COLOURS), (answer,))
    things = [f"a {colour} {shape}" for colour, shape in product(colours, shapes)]
    places = ["", *(f" {words[0]}" for words in PLACE_WORDS.values())]
    return tuple(frame.format(thing) + place for frame, thing, place in product(SHAPE_FRAMES[1:], things, places))
