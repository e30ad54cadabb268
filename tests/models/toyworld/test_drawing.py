"""Drawings: what a scene says is what is seen."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from indexd_toyworld.drawing import draw, face_boxes
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.world import (
    BACKGROUNDS,
    CHARACTERS,
    COLOURS,
    EXPRESSIONS,
    FLAWS,
    SHAPES,
    SKINS,
    DrawnShape,
    Scene,
    named_face,
)


def test_a_picture_has_the_asked_side_and_is_the_same_each_time() -> None:
    scene = scenes(1, 1)[0]
    assert draw(scene).shape == (64, 64, 3)
    assert draw(scene).dtype == np.uint8
    assert draw(scene, 128).shape == (128, 128, 3)
    assert (draw(scene) == draw(scene)).all()


def test_a_larger_picture_shows_the_same() -> None:
    for scene in scenes(2, 20):
        if scene.flaw != "noisy":
            small = draw(scene, 128).reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
            assert np.abs(small - draw(scene)).mean() < 8


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_has_its_colour(shape: str, colour: str) -> None:
    picture = draw(Scene("gray", (DrawnShape(shape, colour, "big", "middle"),), seed=9)).astype(int)
    near = np.abs(picture - COLOURS[colour]).max(axis=2) < 12
    assert 120 < near.sum() < 1500


@pytest.mark.parametrize("ground", BACKGROUNDS)
def test_a_background_has_its_colours_at_the_rim(ground: str) -> None:
    picture = draw(Scene(ground, (DrawnShape("star", "red", "small", "middle"),), seed=9)).astype(int)
    rim = np.concatenate([picture[:12].reshape(-1, 3), picture[-12:].reshape(-1, 3)])
    for colour in BACKGROUNDS[ground]:
        assert (np.abs(rim - colour).max(axis=1) < 12).mean() > 0.05


def test_shapes_and_expressions_are_told_apart_by_their_pixels() -> None:
    shapes = [draw(Scene("gray", (DrawnShape(shape, "red", "big", "middle"),), seed=2)) for shape in SHAPES]
    faces = [draw(Scene("gray", faces=(named_face("emil", look),), seed=2)) for look in EXPRESSIONS]
    for pictures in (shapes, faces):
        for place, one in enumerate(pictures):
            for other in pictures[:place]:
                assert (np.abs(one.astype(int) - other).max(axis=2) > 60).sum() > 40


@pytest.mark.parametrize(
    ("place", "axis", "first_half"), [("left", 1, True), ("right", 1, False), ("top", 0, True), ("bottom", 0, False)]
)
def test_a_thing_stands_where_its_place_says(place: str, axis: int, first_half: bool) -> None:
    picture = draw(Scene("gray", (DrawnShape("circle", "red", "small", place),), seed=3)).astype(int)
    where = np.nonzero(np.abs(picture - COLOURS["red"]).max(axis=2) < 12)[axis].mean()
    assert (where < 24) if first_half else (where > 40)


def test_a_face_lies_in_its_box() -> None:
    for seed, who in enumerate(CHARACTERS):
        faces = (named_face(who, "happy", "left"), named_face("emil" if who != "emil" else "ada", "sad", "right"))
        scene = Scene("gray", faces=faces, seed=seed)
        boxes = face_boxes(scene, 128)
        assert [box[0] for box in boxes] == [face.who for face in faces]
        _, left, top, right, bottom = boxes[0]
        assert 0 <= left < right <= 64
        skin = np.array(SKINS[CHARACTERS[who].skin])
        inside = draw(scene, 128)[round(top) : round(bottom), round(left) : round(right)].astype(int)
        assert (np.abs(inside - skin).max(axis=2) < 12).mean() > 0.15


def test_flaws_are_seen() -> None:
    scene = Scene("gray", (DrawnShape("star", "red", "big", "middle"),), seed=4)
    plain = draw(scene).astype(float)

    def detail(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())

    assert detail(draw(replace(scene, flaw="blurred"))) < 0.6 * detail(plain)
    assert detail(draw(replace(scene, flaw="noisy"))) > 3 * detail(plain)
    assert (draw(replace(scene, flaw="cut"))[-20:] == 0).all()
    assert set(FLAWS) == {"blurred", "cut", "noisy"}


def test_pictures_are_drawn_fast() -> None:
    drawn = scenes(5, 300)
    began = time.process_time()
    for scene in drawn:
        draw(scene)
    assert time.process_time() - began < 1.5
