"""Colours and backgrounds told from pixels: right on the drawings themselves, and only there where they are."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from indexd_toyworld.drawing import draw
from indexd_toyworld.evaluate.controlnet import edge_agreement
from indexd_toyworld.evaluate.pixel_judge import find_background, find_colour
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.world import DrawnShape, Scene

DRAWN = [scene for scene in scenes(3, 160, "held_out") if not scene.flaw]


def test_backgrounds_of_drawings_are_told() -> None:
    assert np.mean([find_background(draw(scene)) == scene.background for scene in DRAWN]) > 0.97


def test_colours_of_drawings_are_told_even_when_they_are_soft() -> None:
    right = [
        find_colour(_soft(draw(scene)), thing, scene.background, len(scene.things)) == thing.colour
        for scene in DRAWN
        for thing in scene.things
    ]
    assert np.mean(right) > 0.95


def test_a_plain_colour_is_no_pattern() -> None:
    flat = np.full((64, 64, 3), (206, 226, 158), np.uint8)
    assert find_background(flat) != "checkered"


def test_nothing_has_no_colour() -> None:
    bare = draw(Scene("navy", seed=1))
    assert find_colour(bare, DrawnShape("star", "red", "small", "middle"), "navy", 1) == ""


def test_each_half_is_looked_at_alone() -> None:
    left, right = DrawnShape("star", "red", "big", "left"), DrawnShape("star", "green", "big", "right")
    pixels = draw(Scene("gray", (left, right), seed=1))
    assert [find_colour(pixels, thing, "gray", 2) for thing in (left, right)] == ["red", "green"]


def test_edges_agree_with_themselves_and_hardly_with_those_of_something_else() -> None:
    star, ring = (
        draw(Scene("gray", (DrawnShape(shape, "red", "big", "middle"),), seed=1)) for shape in ("star", "ring")
    )
    assert edge_agreement(star, star) == 1.0
    assert edge_agreement(star, ring) < 0.6


def _soft(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.8)))
