"""What the contrastive training is fed with, and its losses."""

from __future__ import annotations

from dataclasses import asdict
from random import Random

import open_clip
import pytest
import torch

from indexd_toyworld.captions import vocabulary_words
from indexd_toyworld.held_out_split import is_held_out
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.train.contrastive_batches import CROPS, GROUP, GROUPS, PEOPLE, bpe_ids, make_batch, scene_variants
from indexd_toyworld.train.labels import LOOK_LABELS, MISSING, SCENE_LABELS, AttributeHeads, scene_labels
from indexd_toyworld.train.towers import contrastive_loss, supervised_contrastive_loss
from indexd_toyworld.world import DrawnShape, Scene, named_face
from indexd_toyworld.zero_shot_texts import ANSWERS, templates


def test_variants_differ_in_one_thing_and_are_of_the_training_split() -> None:
    random = Random(2)
    for scene in scenes(2, 60):
        near = scene_variants(scene, random)
        assert len(near) == GROUP - 1
        for other in near:
            assert not is_held_out(other)
            changed = [name for name, part in asdict(scene).items() if part != asdict(other)[name] and name != "seed"]
            assert len(changed) == 1


def test_a_batch_is_the_same_for_the_same_lot() -> None:
    one, other = make_batch(Random("a")), make_batch(Random("a"))
    assert one.images.shape == (GROUPS * GROUP, 3, 64, 64)
    assert one.crops.shape == (PEOPLE * CROPS, 3, 64, 64)
    assert len(one.labels) == len(one.word_ids) == len(one.bpe_ids) == len(one.full) == GROUPS * GROUP
    for name in ("images", "word_ids", "bpe_ids", "labels", "full", "crops", "people", "looks"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_the_end_of_each_text_is_its_highest_id() -> None:
    one = make_batch(Random("b"))
    for ids in (one.word_ids, one.bpe_ids):
        ends = ids.argmax(dim=1)
        assert (ids[torch.arange(len(ids)), ends] == ids.max()).all()
        assert all((row[end + 1 :] == 0).all() for row, end in zip(ids, ends, strict=True))


def test_labels_name_what_is_there() -> None:
    columns = [*SCENE_LABELS, *LOOK_LABELS]
    scene = Scene("cyan", (DrawnShape("star", "red", "big", "left"), DrawnShape("ring", "blue", "small", "right")))
    row = dict(zip(columns, scene_labels([scene])[0].tolist(), strict=True))
    assert (row["kind"], row["shape 1"], row["colour 2"]) == (1, 3, 4)
    assert row["place"] == row["who 1"] == row["skin"] == MISSING
    portrait = Scene("cyan", faces=(named_face("cleo", "sad"),))
    row = dict(zip(columns, scene_labels([portrait])[0].tolist(), strict=True))
    assert (row["kind"], row["who 1"], row["expression 1"], row["who 2"]) == (2, 2, 1, MISSING)
    assert LOOK_LABELS["skin"][row["skin"]] == "dark"


def test_matching_vectors_have_little_loss() -> None:
    vectors = torch.eye(6)
    scale = torch.tensor(4.0)
    assert contrastive_loss(vectors, vectors, scale) < 0.01
    assert contrastive_loss(vectors, vectors.roll(1, 0), scale) > 10


def test_crops_of_one_person_belong_together() -> None:
    people = torch.tensor([0, 0, 1, 1])
    together = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert supervised_contrastive_loss(together, people) < 0.01
    assert supervised_contrastive_loss(together[[0, 2, 1, 3]], people) > 5


def test_a_head_that_lags_has_the_most_say() -> None:
    heads = AttributeHeads(2, {"easy": ("a", "b"), "hard": ("a", "b")})
    with torch.no_grad():
        heads.linear.weight.copy_(torch.tensor([[9.0, 0], [-9, 0], [0, 0], [0, 0]]))
        heads.linear.bias.zero_()
    vectors = torch.tensor([[1.0, 1], [-1, 1]])
    loss = heads(vectors, torch.tensor([[0, 0], [1, 1]]))
    assert loss.item() == pytest.approx(1 / 1.05, rel=0.01)
    assert heads(vectors, torch.tensor([[0, MISSING], [1, MISSING]])).item() < 0.01


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_templates_of_the_judge_have_no_word_that_captions_have_not(kind: str) -> None:
    known = set(vocabulary_words())
    for answer in ANSWERS[kind]:
        texts = templates(kind, answer)
        assert len(texts) >= 9
        assert {word for text in texts for word in text.split()} <= known


def test_ids_of_words_one_by_one_are_those_of_the_whole_text() -> None:
    text = "a furious greta who is stripy beside a turquoise crescent"
    assert bpe_ids(text) == open_clip.SimpleTokenizer().encode(text)
