"""The word tokenizer, read back as the libraries read it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from transformers import CLIPTokenizer

from indexd_toyworld.captions import caption, vocabulary_words
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.toy_tokenizer import (
    PAD_G,
    PAD_L,
    clip_tokenizer,
    learn_merges,
    vocabulary_size,
    write_clip_tokenizer,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_clip_tokenizer(folder, PAD_G)
    return folder


def test_every_caption_word_is_one_token(written: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(written)
    for word in vocabulary_words():
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word


def test_the_end_token_has_the_highest_id(written: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(written)
    assert tokenizer.eos_token_id == vocabulary_size() - 1 == max(tokenizer.get_vocab().values())
    assert tokenizer.bos_token_id == vocabulary_size() - 2
    assert (tokenizer.pad_token_id, tokenizer.model_max_length) == (0, 77)
    assert clip_tokenizer(PAD_L).pad_token_id == tokenizer.eos_token_id


def test_the_two_files_of_the_original_repositories_say_the_same(written: Path) -> None:
    original = CLIPTokenizer(vocab=str(written / "vocab.json"), merges=str(written / "merges.txt"))
    text = "Kira smiling, a RED star in the middle"
    assert original(text)["input_ids"] == CLIPTokenizer.from_pretrained(written)(text)["input_ids"]


def test_an_unknown_word_falls_apart_and_comes_back(written: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(written)
    ids = tokenizer("kira and a red zebra ünder", add_special_tokens=False)["input_ids"]
    assert len(ids) > 8
    assert tokenizer.decode(ids).strip() == "kira and a red zebra ünder"


def test_captions_are_short() -> None:
    tokenizer = clip_tokenizer()
    random = Random(1)
    lengths = [len(tokenizer(caption(scene, random))["input_ids"]) for scene in scenes(1, 400)]
    assert max(lengths) <= 32
    assert sum(length <= 21 for length in lengths) / len(lengths) > 0.9


def test_merges_put_words_together_by_how_often_pairs_come() -> None:
    assert learn_merges(["aab", "ab"]) == [("a", "b</w>"), ("a", "ab</w>")]
