"""LoRA tags, names of embeddings and trigger words in prompts."""

from __future__ import annotations

import time

import pytest

from indexd.prompts.lora_tags import LoraTagError, extract_lora_tags
from indexd.prompts.word_matching import MatchedName, NameMatcher, prepend_missing_triggers
from indexd_schemas.jobs.job_values import JobLora


@pytest.mark.parametrize(
    ("prompt", "rest", "tags"),
    [
        ("a cat", "a cat", []),
        ("  a cat", "  a cat", []),
        ("a <lora:x:0.8> cat", "a  cat", [JobLora(name="x", weight=0.8)]),
        ("a cat <lora:x>", "a cat", [JobLora(name="x")]),
        ("<lora:x:0.8:0.5>", "", [JobLora(name="x", weight=0.5, text_weight=0.8)]),
        ("<lora:x:0.5:0.5>", "", [JobLora(name="x", weight=0.5)]),
        ("<lora:x:unet=0.5:te=0>", "", [JobLora(name="x", weight=0.5, text_weight=0.0)]),
        ("<lora:x:1:te=0.2>", "", [JobLora(name="x", weight=0.2)]),
        ("<lora:x:te=0.2>", "", [JobLora(name="x", weight=0.2)]),
        ("<LORA:My Style v1.2:-.5>", "", [JobLora(name="My Style v1.2", weight=-0.5)]),
        ("<lyco:y:1> <lora:z:0>", "", [JobLora(name="y", weight=1.0), JobLora(name="z", weight=0.0)]),
        ("<lora:x:1:lbw=in=0.5,mid=1>", "", [JobLora(name="x", weight=1.0, blocks={"in": 0.5, "mid": 1.0})]),
        ("a < b <lorax:1>", "a < b <lorax:1>", []),
    ],
)
def test_tags(prompt: str, rest: str, tags: list[JobLora]) -> None:
    assert extract_lora_tags(prompt) == (rest, tags)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("<lora::0.8>", "names no LoRA"),
        ("<lora:x:much>", "'much' is no number"),
        ("<lora:x:1:2:3>", "at most two weights"),
        ("<lora:x:dyn=3>", "there is no 'dyn'"),
        ("<hypernet:x:1>", "names a hypernetwork"),
        ("<lora:x:11>", "<lora:x:11>: weight must be at most 10"),
        ("<lora:x:-11:1>", "<lora:x:-11:1>: text_weight must be at least -10"),
        (f"<lora:{'x' * 401}:1>", "name must have at most 400 characters"),
        ("<lora:x:1:lbw=1,2>", "a list of block weights has 12 or 20 numbers"),
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
