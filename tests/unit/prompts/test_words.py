"""LoRA tags, names of embeddings and trigger words in prompts."""

from __future__ import annotations

import time

import pytest

from indexd.prompts.lora_tags import LoraTag, LoraTagError, extract_lora_tags
from indexd.prompts.word_matching import MatchedName, NameMatcher, prepend_missing_triggers


@pytest.mark.parametrize(
    ("prompt", "rest", "tags"),
    [
        ("a cat", "a cat", []),
        ("  a cat", "  a cat", []),
        ("a <lora:x:0.8> cat", "a  cat", [LoraTag("x", 0.8)]),
        ("a cat <lora:x>", "a cat", [LoraTag("x")]),
        ("<lora:x:0.8:0.5>", "", [LoraTag("x", 0.5, 0.8)]),
        ("<lora:x:0.5:0.5>", "", [LoraTag("x", 0.5)]),
        ("<lora:x:unet=0.5:te=0>", "", [LoraTag("x", 0.5, 0.0)]),
        ("<lora:x:1:te=0.2>", "", [LoraTag("x", 0.2)]),
        ("<lora:x:te=0.2>", "", [LoraTag("x", 0.2)]),
        ("<LORA:My Style v1.2:-.5>", "", [LoraTag("My Style v1.2", -0.5)]),
        ("<lyco:y:1> <lora:z:0>", "", [LoraTag("y", 1.0), LoraTag("z", 0.0)]),
        ("<lora:x:1:lbw=in=0.5,mid=1>", "", [LoraTag("x", 1.0, None, "in=0.5,mid=1")]),
        ("a < b <lorax:1>", "a < b <lorax:1>", []),
    ],
)
def test_tags(prompt: str, rest: str, tags: list[LoraTag]) -> None:
    assert extract_lora_tags(prompt) == (rest, tags)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("<lora::0.8>", "names no LoRA"),
        ("<lora:x:much>", "'much' is no number"),
        ("<lora:x:1:2:3>", "at most two weights"),
        ("<lora:x:dyn=3>", "there is no 'dyn'"),
        ("<hypernet:x:1>", "names a hypernetwork"),
    ],
)
def test_tags_that_cannot_be_read(prompt: str, sentence: str) -> None:
    with pytest.raises(LoraTagError, match=sentence):
        extract_lora_tags(prompt)


def test_many_tags_take_no_time() -> None:
    began = time.perf_counter()
    assert extract_lora_tags("<lora:" * 3_000) == ("<lora:" * 3_000, [])
    assert len(extract_lora_tags("<lora:a:1>" * 1_500)[1]) == 1_500
    assert time.perf_counter() - began < 1


def test_names_are_whole_words_and_the_longest_wins() -> None:
    names = NameMatcher(["bad hands", "bad", "Easy-Negative"])
    text = "Bad hands, badly, easy-negative, (bad:1.2)"
    assert list(names.split(text)) == [
        MatchedName("bad hands"),
        ", badly, ",
        MatchedName("Easy-Negative"),
        ", (",
        MatchedName("bad"),
        ":1.2)",
    ]
    assert names.find_names(text) == ["bad hands", "Easy-Negative", "bad"]
    assert list(NameMatcher([]).split("bad")) == ["bad"]


@pytest.mark.parametrize(
    ("prompt", "triggers", "made"),
    [
        ("a cat", ["ink style"], "ink style, a cat"),
        ("a cat, Ink Style", ["ink style"], "a cat, Ink Style"),
        ("a cat, (ink_style:1.2)", ["ink style"], "a cat, (ink_style:1.2)"),
        ("an inkstyled cat", ["ink"], "ink, an inkstyled cat"),
        ("a cat", ["ink", "ink", " "], "ink, a cat"),
        ("a cat AND b :0.5", ["ink"], "ink, a cat AND b :0.5"),
        ("", ["ink"], "ink"),
        ("a cat", ["ink (old)"], r"ink \(old\), a cat"),
        (r"a cat, ink \(old\)", ["ink (old)"], r"a cat, ink \(old\)"),
        ("a cat", [], "a cat"),
    ],
)
def test_triggers(prompt: str, triggers: list[str], made: str) -> None:
    assert prepend_missing_triggers(prompt, triggers, escaped=True) == made


def test_triggers_of_plain_text_are_not_escaped() -> None:
    assert prepend_missing_triggers("a cat", ["ink (old)"], escaped=False) == "ink (old), a cat"
