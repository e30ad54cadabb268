"""Contents of the toy world: a scene has a background, and one or two things or one or two faces."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")
COLOURS: dict[str, Colour] = {
    "red": (220, 35, 40),
    "orange": (248, 138, 20),
    "yellow": (250, 222, 40),
    "green": (40, 165, 60),
    "blue": (45, 95, 235),
    "purple": (145, 50, 190),
    "white": (252, 252, 252),
    "black": (22, 22, 24),
}
BACKGROUNDS: dict[str, tuple[Colour, ...]] = {
    "gray": ((150, 150, 152),),
    "pink": ((250, 180, 208),),
    "cyan": ((120, 215, 225),),
    "brown": ((140, 98, 66),),
    "navy": ((28, 38, 92),),
    "striped": ((214, 200, 242), (160, 138, 206)),
    "dotted": ((246, 236, 206), (78, 148, 140)),
    "checkered": ((206, 226, 158), (142, 170, 98)),
}
"""Colours of each background. One colour is plain; the second is that of the stripes, dots or checks."""
SIZES = ("small", "big")
PLACES = ("middle", "left", "right", "top", "bottom")
"""Position of a single thing.

Of two things or faces the first is left and the second right; a single face is in the middle.
"""
EXPRESSIONS = ("happy", "sad", "angry", "surprised", "sleepy")
FLAWS = ("blurred", "cut", "noisy")

SKINS: dict[str, Colour] = {
    "light": (252, 216, 188),
    "tan": (224, 168, 116),
    "dark": (140, 92, 62),
    "green": (150, 205, 110),
    "yellow": (252, 220, 90),
    "blue": (130, 175, 235),
    "lilac": (210, 180, 235),
}
HAIRS: dict[str, Colour] = {
    "black": (32, 28, 34),
    "blond": (248, 208, 96),
    "ginger": (218, 92, 30),
    "white": (240, 240, 242),
    "brown": (104, 62, 34),
    "purple": (136, 52, 168),
    "teal": (24, 140, 140),
}
STYLES = ("bald", "short", "long", "spiky", "curly", "mohawk", "bun")
HATS: dict[str, Colour | None] = {
    "none": None,
    "cap": (214, 40, 46),
    "top hat": (30, 30, 38),
    "beanie": (40, 96, 206),
    "crown": (246, 196, 40),
}
EYES = ("dots", "big")
GLASSES = ("none", "round", "square")
BEARDS = ("none", "full", "moustache")


@dataclass(frozen=True, slots=True)
class CharacterLook:
    """The features that identify a person, independent of the expression."""

    skin: str
    hair: str
    style: str
    hat: str = "none"
    eyes: str = "dots"
    glasses: str = "none"
    beard: str = "none"


CHARACTERS: dict[str, CharacterLook] = {
    "ada": CharacterLook("light", "black", "long", eyes="big", glasses="round"),
    "bruno": CharacterLook("tan", "brown", "bald", beard="full"),
    "cleo": CharacterLook("dark", "blond", "curly", eyes="big"),
    "dora": CharacterLook("light", "ginger", "bun", glasses="square"),
    "emil": CharacterLook("yellow", "brown", "short", hat="cap"),
    "fritz": CharacterLook("green", "purple", "mohawk", eyes="big"),
    "greta": CharacterLook("tan", "white", "long", hat="beanie"),
    "hugo": CharacterLook("light", "black", "short", hat="top hat", beard="moustache"),
    "ines": CharacterLook("blue", "teal", "spiky", eyes="big"),
    "juri": CharacterLook("dark", "white", "short", hat="crown", beard="full"),
}
UNKNOWN_CHARACTERS: dict[str, CharacterLook] = {
    "kira": CharacterLook("lilac", "ginger", "spiky", glasses="round"),
    "leon": CharacterLook("yellow", "teal", "long", hat="top hat", beard="full"),
}
"""Characters that are never trained on; tests use them as unseen faces."""


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """A shape; with two in an image `place` is "left" or "right"."""

    shape: str
    colour: str
    size: str
    place: str


@dataclass(frozen=True, slots=True)
class Face:
    """A face. `who` is a character's name, or another word for a stranger."""

    who: str
    look: CharacterLook
    expression: str
    place: str = "middle"


@dataclass(frozen=True, slots=True)
class Scene:
    """One image. `flaw` is "" or one of FLAWS; `seed` decides what no caption mentions: jitter, tilt, phase, noise."""

    background: str
    things: tuple[DrawnShape, ...] = ()
    faces: tuple[Face, ...] = ()
    flaw: str = ""
    seed: int = 0


def named_face(who: str, expression: str, place: str = "middle") -> Face:
    """The face of a known or unknown character."""
    return Face(who, (CHARACTERS | UNKNOWN_CHARACTERS)[who], expression, place)
