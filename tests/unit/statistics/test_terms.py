"""Terms of prompts, and which of them go with five stars."""

from __future__ import annotations

import math

import pytest

from indexd.statistics.prompt_terms import count_terms, extract_terms, log_odds


@pytest.mark.parametrize(
    ("prompt", "terms"),
    [
        ("masterpiece, (Red Hair:1.2), <lora:oils:0.7>", ["masterpiece", "red hair"]),
        ("((best quality)), [[blurry]], {soft light}", ["best quality", "blurry", "soft light"]),
        ("1girl\nlooking_at_viewer", ["1girl", "looking at viewer"]),
        (r"artist \(style\)", ["artist style"]),
        ("a cat sits on the old harbour wall", ["cat", "sits", "old", "harbour", "wall"]),
        ("cat BREAK dog, cat", ["cat", "dog"]),
        ("Ölgemälde, 猫", ["ölgemälde", "猫"]),
        ("", []),
        (",,, ((())) <lora:x:1>", []),
    ],
)
def test_terms_are_phrases_without_their_syntax(prompt: str, terms: list[str]) -> None:
    assert list(extract_terms(prompt)) == terms


def test_hostile_prompts_take_no_time() -> None:
    for prompt in ("(" * 200_000, "<" * 200_000, "a:1." * 100_000, "((a:1)" * 50_000, ",".join("x" * 100_000)):
        assert len(list(extract_terms(prompt))) < 20_000


def test_the_odds_are_those_of_the_paper() -> None:
    five, others = {"gold": 8, "grey": 2}, {"gold": 3, "grey": 7}
    first, last = log_odds(five, others)
    prior = 10.0  # the smaller group's number of terms
    gold = prior * 11 / 20
    expected = math.log((8 + gold) / (20 - 8 - gold)) - math.log((3 + gold) / (20 - 3 - gold))
    assert (first.term, last.term) == ("gold", "grey")
    assert first.log_odds == pytest.approx(expected)
    assert first.z == pytest.approx(expected / math.sqrt(1 / (8 + gold) + 1 / (3 + gold)))
    assert last.z < 0


def test_what_is_certain_comes_before_what_is_rare() -> None:
    five = {"often": 60, "rare": 3, "masterpiece": 100}
    others = {"often": 20, "masterpiece": 100, "filler": 43}
    ranked = [odds.term for odds in log_odds(five, others)]
    assert ranked[0] == "often"
    assert ranked.index("rare") < ranked.index("masterpiece")


def test_rare_terms_and_empty_groups_are_left_out() -> None:
    assert log_odds({"once": 1, "much": 9}, {"much": 9})[0].term == "much"
    assert log_odds({"a": 5}, {}) == []
    assert log_odds({"a": 5}, {"a": 5}) == []


def test_a_term_counts_once_a_prompt() -> None:
    assert count_terms(["cat, cat, cat", "cat, dog"]) == {"cat": 2, "dog": 1}
