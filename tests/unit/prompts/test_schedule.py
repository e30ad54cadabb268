"""Texts that change from step to step: the cases that A1111 documents, those it does not, and hostile ones."""

from __future__ import annotations

import itertools
import time

import pytest

from indexd.prompts.prompt_schedule import PromptSchedule
from indexd.prompts.step_prompts import PromptScript, StepPrompt


def runs(prompt: str, steps: int = 10) -> list[tuple[int, str]]:
    """(last step, text) of every run of equal texts."""
    texts = [PromptSchedule(prompt).at(step, steps) for step in range(1, steps + 1)]
    ends = itertools.accumulate(len(list(group)) for _, group in itertools.groupby(texts))
    return [(end, texts[end - 1]) for end in ends]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("test", [(10, "test")]),
        ("a [b:3]", [(3, "a "), (10, "a b")]),
        ("a [b: 3]", [(3, "a "), (10, "a b")]),
        ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("a [unbalanced", [(10, "a [unbalanced")]),
        ("a [b:.5] c", [(5, "a  c"), (10, "a b c")]),
        ("a [{b|d{:.5] c", [(5, "a  c"), (10, "a {b|d{ c")]),
        ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
        ("a [b:1.5] c", [(10, "a  c")]),
        ("[a::0.3] b", [(3, "a b"), (10, " b")]),
        ("[:b:4]", [(4, ""), (10, "b")]),
        ("[a:b:0]", [(10, "b")]),
        ("[a:b:-1]", [(10, "b")]),
        ("[a:b:99]", [(10, "a")]),
        ("[a:b:c]", [(10, "[a:b:c]")]),
        ("[a:b:c:3]", [(10, "[a:b:c:3]")]),
        ("[less]", [(10, "[less]")]),
        ("[]", [(10, "[]")]),
        ("[:) a:b:5]", [(10, "[:) a:b:5]")]),
        ("[(a:b:5]", [(10, "[(a:b:5]")]),
        ("[(a:1.5):b:5]", [(5, "(a:1.5)"), (10, "b")]),
        (r"\[a:b:5\]", [(10, r"\[a:b:5\]")]),
        (r"[a\:b:5]", [(5, ""), (10, r"a\:b")]),
        ("a|b", [(10, "a|b")]),
    ],
)
def test_switches(prompt: str, expected: list[tuple[int, str]]) -> None:
    assert runs(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[a|(b:1.1)]", ["a", "(b:1.1)", "a", "(b:1.1)", "a"]),
        ("[fe|]male", ["female", "male", "female", "male", "female"]),
        ("[fe|||]male", ["female", "male", "male", "male", "female"]),
        ("[a|b|c]", ["a", "b", "c", "a", "b"]),
        ("[|]x", ["x"] * 5),
        ("[[a|b]|c]", ["a", "c", "a", "c", "a"]),
        ("[x:[a|b]:2]", ["x", "x", "a", "b", "a"]),
        ("[a:b|c]", ["a:b", "c", "a:b", "c", "a:b"]),
    ],
)
def test_turns(prompt: str, expected: list[str]) -> None:
    assert [PromptSchedule(prompt).at(step, 5) for step in range(1, 6)] == expected


def test_a_share_follows_the_number_of_steps() -> None:
    assert [PromptSchedule("[a:b:0.25]").at(step, 8) for step in (2, 3)] == ["a", "b"]
    assert [PromptSchedule("[a:b:0.25]").at(step, 40) for step in (10, 11)] == ["a", "b"]


@pytest.mark.parametrize(
    "prompt",
    [
        "[" * 10_000,
        "]" * 10_000,
        "[" * 5_000 + "a" + "]" * 5_000,
        "[" * 3_000 + "a" + ":1]" * 3_000,
        "[a|" * 5_000 + "]" * 5_000,
        "[a:" * 6_000,
        "([" * 5_000 + "])" * 5_000,
        "[" + "|" * 15_000 + "]",
        "[a:b:" + "9" * 15_000 + "]",
    ],
)
def test_hostile_prompts_take_no_time_and_no_stack(prompt: str) -> None:
    began = time.perf_counter()
    schedule = PromptSchedule(prompt)
    for step in (1, 2, 30):
        schedule.at(step, 30)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a cat", [("a cat", 1)]),
        ("a cat :1.5", [("a cat :1.5", 1)]),
        ("a AND b", [("a ", 1), (" b", 1)]),
        ("a AND b :0.5", [("a ", 1), (" b", 0.5)]),
        ("a:1.2 AND b:-0.5 AND c", [("a", 1.2), (" b", -0.5), (" c", 1)]),
        ("a and b SANDY", [("a and b SANDY", 1)]),
        ("(a:1.2) AND b", [("(a:1.2) ", 1), (" b", 1)]),
    ],
)
def test_and(prompt: str, parts: list[tuple[str, float]]) -> None:
    said = PromptScript(prompt, "x AND y", "a1111").at(1, 10)
    assert [(part.text, part.weight) for part in said.positive] == parts
    assert said.negative == "x AND y"


def test_a_script_goes_through_both_prompts() -> None:
    script = PromptScript("[a:b:1] AND c :2", "[x|y]", "a1111")
    assert script.varies_by_step
    said = [script.at(step, 3) for step in (1, 2, 3)]
    assert [[part.text for part in one.positive] for one in said] == [["a ", " c"], ["b ", " c"], ["b ", " c"]]
    assert [one.negative for one in said] == ["x", "y", "x"]


def test_plain_text_is_taken_as_it_stands() -> None:
    script = PromptScript("[a:b:1] AND (c:2)", "[x|y]", "plain")
    assert not script.varies_by_step
    assert isinstance(script.at(2, 3), StepPrompt)
    assert [(part.text, part.weight) for part in script.at(2, 3).positive] == [("[a:b:1] AND (c:2)", 1)]
    assert script.at(2, 3).negative == "[x|y]"
