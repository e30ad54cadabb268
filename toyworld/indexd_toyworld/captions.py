"""Captions of scenes: templates with synonyms and omitted attributes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from indexd_toyworld.world import (
    BACKGROUNDS,
    CHARACTERS,
    COLOURS,
    EXPRESSIONS,
    FLAWS,
    SHAPES,
    SIZES,
    DrawnShape,
    Face,
    Scene,
)

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "moon": ("moon", "crescent"),
    "red": ("red", "scarlet"),
    "yellow": ("yellow", "golden"),
    "purple": ("purple", "violet"),
    "gray": ("gray", "grey"),
    "cyan": ("cyan", "turquoise"),
    "navy": ("navy", "midnight"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered", "checked"),
    "small": ("small", "little", "tiny"),
    "big": ("big", "large", "huge"),
    "happy": ("happy", "smiling", "cheerful"),
    "sad": ("sad", "unhappy", "gloomy"),
    "angry": ("angry", "furious", "mad"),
    "surprised": ("surprised", "astonished", "shocked"),
    "sleepy": ("sleepy", "tired", "drowsy"),
    "blurred": ("blurry", "blurred"),
    "cut": ("cut",),
    "noisy": ("noisy", "grainy"),
}
"""The first word is the one in `full_caption`; a word without an entry has no synonym."""
PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "middle": ("in the middle", "in the center"),
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
}
BACKGROUND_PHRASES = ("on a {} background", "on {}", "in front of a {} wall", "before a {} backdrop")
"""The first phrase is the one in `full_caption`."""
SHAPE_FRAMES = ("{}", "{}", "a picture of {}", "a drawing of {}")
FACE_FRAMES = ("{}", "{}", "a portrait of {}", "the face of {}", "a picture of {}")
FACE_FORMS = ("{expression} {who}", "{who} looking {expression}", "{who} who is {expression}")
TWO_FRAMES = ("{} and {}", "{} next to {}", "{} beside {}")
FLAW_FRAMES = ("a {flaw} picture of {scene}", "{scene}, {flaw}")

MENTION_PROBABILITY = 0.8
"""Probability of mentioning an optional attribute."""

WordChooser = Callable[[str], str]
CoinFlip = Callable[[], bool]


def caption(scene: Scene, random: Random, share: float = MENTION_PROBABILITY) -> str:
    """A random caption of the scene.

    Mentions size, place, background and expression with probability `share` each.
    """

    def say(word: str) -> str:
        return random.choice(SYNONYMS.get(word, (word,)))

    def said() -> bool:
        return random.random() < share

    if scene.things:
        parts = [_shape_phrase(thing, say, random.choice(PLACE_WORDS[thing.place]), said) for thing in scene.things]
        frame = random.choice(SHAPE_FRAMES)
    else:
        placed = len(scene.faces) == 2
        parts = [
            _face_phrase(
                face,
                say,
                random.choice(FACE_FORMS),
                random.choice(PLACE_WORDS[face.place]) if placed and random.random() < 0.5 else "",
                said,
            )
            for face in scene.faces
        ]
        frame = random.choice(FACE_FRAMES)
    if len(parts) == 2:
        frame = "{}"  # a frame would make captions of two too long
    body = frame.format(random.choice(TWO_FRAMES).format(*parts) if len(parts) == 2 else parts[0])
    if said():
        body += " " + random.choice(BACKGROUND_PHRASES).format(say(scene.background))
    if scene.flaw:
        body = random.choice(FLAW_FRAMES).format(flaw=say(scene.flaw), scene=body)
    return body


def full_caption(scene: Scene) -> str:
    """The caption that names everything in the plainest words. Two scenes share it only if they differ by seed."""

    def say(word: str) -> str:
        return SYNONYMS.get(word, (word,))[0]

    def always() -> bool:
        return True

    things = [_shape_phrase(thing, say, PLACE_WORDS[thing.place][0], always) for thing in scene.things]
    two = len(scene.faces) == 2
    faces = [
        _face_phrase(face, say, FACE_FORMS[0], PLACE_WORDS[face.place][0] if two else "", always)
        for face in scene.faces
    ]
    body = " and ".join(things + faces) + " " + BACKGROUND_PHRASES[0].format(say(scene.background))
    return FLAW_FRAMES[0].format(flaw=say(scene.flaw), scene=body) if scene.flaw else body


def _shape_phrase(thing: DrawnShape, say: WordChooser, place: str, mention: CoinFlip) -> str:
    words = [say(thing.size)] if mention() else []
    words += [say(thing.colour), say(thing.shape)]
    if mention():
        words.append(place)
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def _face_phrase(face: Face, say: WordChooser, form: str, place: str, mention: CoinFlip) -> str:
    words = form.format(who=face.who, expression=say(face.expression)) if mention() else face.who
    return f"{words} {place}".strip()


def vocabulary_words() -> list[str]:
    """Every word of all captions, sorted: the training vocabulary of the tokenizers. Excludes names of strangers."""
    plain = {*SHAPES, *COLOURS, *BACKGROUNDS, *SIZES, *EXPRESSIONS, *FLAWS, *CHARACTERS}
    frames = (*BACKGROUND_PHRASES, *SHAPE_FRAMES, *FACE_FRAMES, *FACE_FORMS, *TWO_FRAMES, *FLAW_FRAMES)
    texts = [text for texts in PLACE_WORDS.values() for text in texts] + list(frames)
    loose = {word for text in texts for word in text.replace(",", " ").split() if "{" not in word}
    synonyms = {word for words in SYNONYMS.values() for word in words}
    return sorted(plain | synonyms | loose | {"a", "an", "the", "someone"})
