"""Scenes: what is drawn by lot, what is held back, what the captions say."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from indexd_toyworld.captions import SYNONYMS, caption, full_caption, vocabulary_words
from indexd_toyworld.held_out_split import HELD_OUT_SHARE, is_held_out
from indexd_toyworld.scene_sampling import scenes, unnamed_portraits
from indexd_toyworld.world import (
    BACKGROUNDS,
    CHARACTERS,
    COLOURS,
    EXPRESSIONS,
    SHAPES,
    UNKNOWN_CHARACTERS,
    DrawnShape,
    Scene,
    named_face,
)

POOL = scenes(3, 1500, split="all")


def test_the_same_seed_gives_the_same_scenes_and_another_gives_others() -> None:
    assert scenes(7, 50) == scenes(7, 50)
    assert scenes(7, 50) != scenes(8, 50)


def test_more_scenes_begin_with_the_fewer() -> None:
    assert scenes(7, 80)[:50] == scenes(7, 50)


def test_the_splits_share_no_combination() -> None:
    assert not any(is_held_out(scene) for scene in scenes(1, 400))
    assert all(is_held_out(scene) for scene in scenes(1, 400, split="held_out"))


def test_about_one_combination_in_seven_is_held_back() -> None:
    things = [
        is_held_out(Scene(ground, (DrawnShape(shape, colour, "big", "middle"),)))
        for ground in BACKGROUNDS
        for shape in SHAPES
        for colour in COLOURS
    ]
    faces = [
        is_held_out(Scene(ground, faces=(named_face(who, look),)))
        for ground in BACKGROUNDS
        for who in CHARACTERS
        for look in EXPRESSIONS
    ]
    for part in (things, faces):
        assert sum(part) / len(part) == pytest.approx(HELD_OUT_SHARE, abs=0.04)


def test_size_place_flaw_seed_and_side_do_not_decide_what_is_held_back() -> None:
    for scene in POOL[:300]:
        turned = Scene(
            scene.background,
            tuple(replace(thing, size="big", place="top") for thing in reversed(scene.things)),
            tuple(reversed(scene.faces)),
            "noisy",
            5,
        )
        assert is_held_out(turned) == is_held_out(scene)


def test_every_word_of_the_world_comes_up() -> None:
    assert {thing.shape for scene in POOL for thing in scene.things} == set(SHAPES)
    assert {thing.colour for scene in POOL for thing in scene.things} == set(COLOURS)
    assert {face.who for scene in POOL for face in scene.faces} == set(CHARACTERS)
    assert {scene.background for scene in POOL} == set(BACKGROUNDS)
    assert {scene.flaw for scene in POOL} == {"", "blurred", "cut", "noisy"}


def test_the_unknown_are_seen_only_when_asked_for() -> None:
    assert {face.who for scene in scenes(1, 60, unknown=True) for face in scene.faces} == set(UNKNOWN_CHARACTERS)
    taken = {*CHARACTERS.values(), *UNKNOWN_CHARACTERS.values()}
    assert not any(face.look in taken for scene in unnamed_portraits(1, 2000) for face in scene.faces)


def test_the_characters_differ_in_several_features() -> None:
    everybody = [*CHARACTERS.values(), *UNKNOWN_CHARACTERS.values()]
    features = ("skin", "hair", "style", "hat", "eyes", "glasses", "beard")
    for place, one in enumerate(everybody):
        for other in everybody[:place]:
            assert sum(getattr(one, name) != getattr(other, name) for name in features) >= 3


def test_a_full_caption_names_everything() -> None:
    scene = Scene("striped", (DrawnShape("star", "red", "small", "left"), DrawnShape("ring", "orange", "big", "right")))
    assert full_caption(scene) == (
        "a small red star on the left and a big orange ring on the right on a striped background"
    )
    assert full_caption(Scene("gray", faces=(named_face("ada", "happy"),))) == "happy ada on a gray background"
    flawed = Scene("gray", (DrawnShape("moon", "orange", "big", "top"),), flaw="blurred")
    assert full_caption(flawed) == "a blurry picture of a big orange moon at the top on a gray background"


def test_full_captions_are_equal_only_for_equal_scenes() -> None:
    by_caption = {full_caption(scene): replace(scene, seed=0) for scene in POOL}
    assert all(by_caption[full_caption(scene)] == replace(scene, seed=0) for scene in POOL)


def test_a_caption_says_colour_and_shape_or_who_always_and_the_rest_sometimes() -> None:
    random = Random(4)
    left_out = 0
    for scene in POOL[:400]:
        said = caption(scene, random).replace(",", "").split()
        for thing in scene.things:
            for word in (thing.shape, thing.colour):
                assert set(SYNONYMS.get(word, (word,))) & set(said)
        assert all(face.who in said for face in scene.faces)
        left_out += not set(SYNONYMS.get(scene.background, (scene.background,))) & set(said)
    assert 40 < left_out < 140


def test_a_share_of_one_leaves_nothing_out() -> None:
    random = Random(4)
    for scene in POOL[:400]:
        said = set(caption(scene, random, 1.0).replace(",", "").split())
        wanted = [scene.background, *(thing.size for thing in scene.things), *(f.expression for f in scene.faces)]
        assert all(set(SYNONYMS.get(word, (word,))) & said for word in wanted)


def test_no_word_has_two_meanings() -> None:
    meanings = [word for synonyms in SYNONYMS.values() for word in synonyms]
    assert len(meanings) == len(set(meanings))


def test_captions_have_no_other_words_than_the_tokenizers_know() -> None:
    random = Random(4)
    known = set(vocabulary_words())
    for scene in [*POOL, *unnamed_portraits(2, 50)]:
        assert set(caption(scene, random).replace(",", "").split()) <= known
