"""Draws a cartoon face: the look identifies the person, the expression shows the feeling."""

from __future__ import annotations

from math import cos, pi, sin

from indexd_toyworld.pen import Pen
from indexd_toyworld.world import HAIRS, HATS, SKINS, CharacterLook, Colour

INK: Colour = (42, 26, 30)
MOUTH: Colour = (120, 20, 34)
TEETH: Colour = (255, 255, 255)
EYE_X, EYE_Y, MOUTH_Y = 0.4, -0.1, 0.5
"""In head radii from the middle of the head."""


def draw_face(pen: Pen, look: CharacterLook, expression: str, x: float, y: float, radius: float) -> None:
    """Draw a head of `radius` around (x, y), with hair and hat outside of it."""
    skin, hair = SKINS[look.skin], HAIRS[look.hair]
    _hair_behind(pen, look.style, hair, x, y, radius)
    pen.disc(x, y, radius, INK)
    pen.disc(x, y, radius * 0.95, skin)
    _hair_in_front(pen, look.style, hair, x, y, radius)
    _beard(pen, look.beard, hair, skin, x, y, radius)
    _eyes(pen, look.eyes, expression, x, y, radius)
    _brows(pen, expression, x, y, radius)
    _mouth(pen, expression, x, y, radius)
    _glasses(pen, look.glasses, x, y, radius)
    colour = HATS[look.hat]
    if colour is not None:
        _hat(pen, look.hat, colour, x, y, radius)


def _hair_behind(pen: Pen, style: str, hair: Colour, x: float, y: float, r: float) -> None:
    if style == "long":
        pen.oval(x, y - 0.1 * r, 1.22 * r, 1.12 * r, hair)
        pen.box(x - 1.22 * r, y - 0.1 * r, x + 1.22 * r, y + 1.0 * r, hair)
    elif style == "curly":
        for step in range(9):
            angle = pi * (1.08 - 1.16 * step / 8)
            pen.disc(x + 1.0 * r * cos(angle), y - 1.0 * r * sin(angle), 0.33 * r, hair)
    elif style == "spiky":
        for step in range(7):
            angle = pi * (0.95 - 0.9 * step / 6)
            tip = (x + 1.5 * r * cos(angle), y - 1.45 * r * sin(angle))
            sides = [(x + 0.9 * r * cos(angle + turn), y - 0.9 * r * sin(angle + turn)) for turn in (0.28, -0.28)]
            pen.polygon([sides[0], tip, sides[1]], hair)
    elif style == "bun":
        pen.disc(x, y - 1.2 * r, 0.42 * r, hair)
    elif style == "mohawk":
        pen.polygon(
            [
                (x - 0.3 * r, y - 0.6 * r),
                (x - 0.42 * r, y - 1.5 * r),
                (x, y - 1.3 * r),
                (x + 0.42 * r, y - 1.5 * r),
                (x + 0.3 * r, y - 0.6 * r),
            ],
            hair,
        )


def _hair_in_front(pen: Pen, style: str, hair: Colour, x: float, y: float, r: float) -> None:
    if style in ("short", "long", "bun", "curly", "spiky"):
        pen.chord(x, y, 0.98 * r, 0.98 * r, 208, 332, hair)
    elif style == "mohawk":
        pen.polygon([(x - 0.28 * r, y - 0.95 * r), (x + 0.28 * r, y - 0.95 * r), (x, y - 0.5 * r)], hair)


def _beard(pen: Pen, beard: str, hair: Colour, skin: Colour, x: float, y: float, r: float) -> None:
    if beard == "full":
        pen.chord(x, y, 1.02 * r, 1.12 * r, 8, 172, hair)
        pen.oval(x, y + MOUTH_Y * r, 0.46 * r, 0.3 * r, skin)
    elif beard == "moustache":
        for side in (-1, 1):
            pen.polygon(
                [(x, y + 0.12 * r), (x + side * 0.62 * r, y + 0.4 * r), (x, y + 0.34 * r)],
                hair,
            )


def _eyes(pen: Pen, kind: str, expression: str, x: float, y: float, r: float) -> None:
    for side in (-1, 1):
        eye_x, eye_y = x + side * EYE_X * r, y + EYE_Y * r
        if expression == "sleepy":
            pen.arc(eye_x, eye_y - 0.08 * r, 0.22 * r, 0.2 * r, 10, 170, 0.1 * r, INK)
            continue
        wide = 1.25 if expression == "surprised" else 1.0
        if kind == "big":
            pen.disc(eye_x, eye_y, 0.25 * r * wide, INK)
            pen.disc(eye_x, eye_y, 0.2 * r * wide, TEETH)
            pen.disc(eye_x, eye_y, 0.1 * r, INK)
        else:
            pen.disc(eye_x, eye_y, 0.13 * r * wide, INK)


def _brows(pen: Pen, expression: str, x: float, y: float, r: float) -> None:
    inner, outer = {
        "happy": (-0.44, -0.4),
        "sad": (-0.58, -0.34),
        "angry": (-0.26, -0.56),
        "surprised": (-0.62, -0.58),
        "sleepy": (-0.36, -0.36),
    }[expression]
    for side in (-1, 1):
        pen.line(
            [(x + side * 0.17 * r, y + inner * r), (x + side * 0.62 * r, y + outer * r)],
            INK,
            0.12 * r,
        )


def _mouth(pen: Pen, expression: str, x: float, y: float, r: float) -> None:
    mouth_y = y + MOUTH_Y * r
    if expression == "happy":
        pen.chord(x, mouth_y - 0.14 * r, 0.46 * r, 0.4 * r, 0, 180, MOUTH)
        pen.box(x - 0.36 * r, mouth_y - 0.12 * r, x + 0.36 * r, mouth_y - 0.02 * r, TEETH)
    elif expression == "sad":
        pen.arc(x, mouth_y + 0.24 * r, 0.42 * r, 0.36 * r, 195, 345, 0.14 * r, MOUTH)
    elif expression == "angry":
        pen.box(x - 0.44 * r, mouth_y - 0.14 * r, x + 0.44 * r, mouth_y + 0.16 * r, MOUTH)
        pen.box(x - 0.36 * r, mouth_y - 0.06 * r, x + 0.36 * r, mouth_y + 0.08 * r, TEETH)
    elif expression == "surprised":
        pen.oval(x, mouth_y + 0.06 * r, 0.22 * r, 0.28 * r, MOUTH)
    else:
        pen.line([(x - 0.2 * r, mouth_y), (x + 0.2 * r, mouth_y)], MOUTH, 0.12 * r)


def _glasses(pen: Pen, kind: str, x: float, y: float, r: float) -> None:
    if kind == "none":
        return
    colour: Colour = (20, 20, 20) if kind == "round" else (190, 20, 60)
    for side in (-1, 1):
        eye_x, eye_y = x + side * EYE_X * r, y + EYE_Y * r
        if kind == "round":
            pen.ring(eye_x, eye_y, 0.36 * r, 0.1 * r, colour)
        else:
            pen.frame(eye_x - 0.36 * r, eye_y - 0.27 * r, eye_x + 0.36 * r, eye_y + 0.27 * r, 0.1 * r, colour)


def _hat(pen: Pen, kind: str, colour: Colour, x: float, y: float, r: float) -> None:
    if kind == "cap":
        pen.chord(x, y - 0.42 * r, 1.0 * r, 0.85 * r, 180, 360, colour)
        pen.oval(x + 0.55 * r, y - 0.45 * r, 0.8 * r, 0.13 * r, colour)
    elif kind == "top hat":
        pen.box(x - 0.62 * r, y - 1.65 * r, x + 0.62 * r, y - 0.65 * r, colour)
        pen.box(x - 0.62 * r, y - 0.9 * r, x + 0.62 * r, y - 0.74 * r, (200, 40, 50))
        pen.box(x - 1.05 * r, y - 0.74 * r, x + 1.05 * r, y - 0.58 * r, colour)
    elif kind == "beanie":
        pen.chord(x, y - 0.45 * r, 0.98 * r, 0.9 * r, 180, 360, colour)
        pen.box(x - 1.0 * r, y - 0.68 * r, x + 1.0 * r, y - 0.45 * r, TEETH)
        pen.disc(x, y - 1.4 * r, 0.2 * r, TEETH)
    else:
        points = [(-0.8, -0.55), (-0.9, -1.4), (-0.42, -0.98), (0.0, -1.5), (0.42, -0.98), (0.9, -1.4), (0.8, -0.55)]
        pen.polygon([(x + across * r, y + down * r) for across, down in points], colour)
        pen.line([(x - 0.8 * r, y - 0.6 * r), (x + 0.8 * r, y - 0.6 * r)], (150, 100, 10), 0.1 * r)
