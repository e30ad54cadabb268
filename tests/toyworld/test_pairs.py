"""What the contrastive training is fed with, and its losses."""

from __future__ import annotations

from dataclasses import asdict
from random import Random

import open_clip
import pytest
import torch

from indexd_toyworld.captions import words
from indexd_toyworld.questions import KINDS, templates
from indexd_toyworld.sampling import scenes
from indexd_toyworld.split import held_out
from indexd_toyworld.train.labels import LOOKS, MISSING, SAID, Heads, labels
from indexd_toyworld.train.pairs import CROPS, GROUP, GROUPS, PEOPLE, batch, bpe_ids, variants
from indexd_toyworld.train.towers import contrast, gather
from indexd_toyworld.world import Scene, Thing, named_face


def test_variants_differ_in_one_thing_and_are_of_the_training_split() -> None:
    random = Random(2)
    for scene in scenes(2, 60):
        near = variants(scene, random)
        assert len(near) == GROUP - 1
        for other in near:
            assert not held_out(other)
            changed = [name for name, part in asdict(scene).items() if part != asdict(other)[name] and name != "seed"]
            assert len(changed) == 1


def test_a_batch_is_the_same_for_the_same_lot() -> None:
    one, other = batch(Random("a")), batch(Random("a"))
    assert one.pictures.shape == (GROUPS * GROUP, 3, 64, 64)
    assert one.crops.shape == (PEOPLE * CROPS, 3, 64, 64)
    assert len(one.labels) == len(one.word_ids) == len(one.bpe_ids) == len(one.full) == GROUPS * GROUP
    for name in ("pictures", "word_ids", "bpe_ids", "labels", "full", "crops", "people", "looks"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_the_end_of_each_text_is_its_highest_id() -> None:
    one = batch(Random("b"))
    for ids in (one.word_ids, one.bpe_ids):
        ends = ids.argmax(dim=1)
        assert (ids[torch.arange(len(ids)), ends] == ids.max()).all()
        assert all((row[end + 1 :] == 0).all() for row, end in zip(ids, ends, strict=True))


def test_labels_name_what_is_there() -> None:
    columns = [*SAID, *LOOKS]
    scene = Scene("cyan", (Thing("star", "red", "big", "left"), Thing("ring", "blue", "small", "right")))
    row = dict(zip(columns, labels([scene])[0].tolist(), strict=True))
    assert (row["kind"], row["shape 1"], row["colour 2"]) == (1, 3, 4)
    assert row["place"] == row["who 1"] == row["skin"] == MISSING
    portrait = Scene("cyan", faces=(named_face("cleo", "sad"),))
    row = dict(zip(columns, labels([portrait])[0].tolist(), strict=True))
    assert (row["kind"], row["who 1"], row["expression 1"], row["who 2"]) == (2, 2, 1, MISSING)
    assert LOOKS["skin"][row["skin"]] == "dark"


def test_matching_vectors_have_little_loss() -> None:
    vectors = torch.eye(6)
    scale = torch.tensor(4.0)
    assert contrast(vectors, vectors, scale) < 0.01
    assert contrast(vectors, vectors.roll(1, 0), scale) > 10


def test_crops_of_one_person_belong_together() -> None:
    people = torch.tensor([0, 0, 1, 1])
    together = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert gather(together, people) < 0.01
    assert gather(together[[0, 2, 1, 3]], people) > 5


def test_a_head_that_lags_has_the_most_say() -> None:
    heads = Heads(2, {"easy": ("a", "b"), "hard": ("a", "b")})
    with torch.no_grad():
        heads.linear.weight.copy_(torch.tensor([[9.0, 0], [-9, 0], [0, 0], [0, 0]]))
        heads.linear.bias.zero_()
    vectors = torch.tensor([[1.0, 1], [-1, 1]])
    loss = heads(vectors, torch.tensor([[0, 0], [1, 1]]))
    assert loss.item() == pytest.approx(1 / 1.05, rel=0.01)
    assert heads(vectors, torch.tensor([[0, MISSING], [1, MISSING]])).item() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_templates_of_the_judge_have_no_word_that_captions_have_not(kind: str) -> None:
    known = set(words())
    for answer in KINDS[kind]:
        texts = templates(kind, answer)
        assert len(texts) >= 9
        assert {word for text in texts for word in text.split()} <= known


def test_ids_of_words_one_by_one_are_those_of_the_whole_text() -> None:
    text = "a furious greta who is stripy beside a turquoise crescent"
    assert bpe_ids(text) == open_clip.SimpleTokenizer().encode(text)
