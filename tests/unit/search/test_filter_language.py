"""The filter language: every form, and every error with its position and correction."""

from __future__ import annotations

import pytest

from indexd.errors import UsageError
from indexd.search.query.filter_language import FILTER_KEYS, parse_filters
from indexd.store.records import Filter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model:pony", Filter("model", "=", "pony")),
        ("MODEL:Pony*", Filter("model", "=", "Pony*")),
        ("steps:20..40", Filter("steps", "..", low="20", high="40")),
        ("rating:4..", Filter("rating", "..", low="4", high=None)),
        ("rating:..2", Filter("rating", "..", low=None, high="2")),
        ("-tag:bad", Filter("tag", "=", "bad", negate=True)),
        ("lora:my lora", Filter("lora", "=", "my lora")),
        ('"lora:my lora"', Filter("lora", "=", "my lora")),
        ('lora:"my lora"', Filter("lora", "=", "my lora")),
        (r'tag:"say \"hi\""', Filter("tag", "=", 'say "hi"')),
        ("path:portraits/*", Filter("path", "=", "portraits/*")),
        (r"path:C:\pictures\a.png", Filter("path", "=", r"C:\pictures\a.png")),
        ("seed:18446744073709551615", Filter("seed", "=", "18446744073709551615")),
        ("seed:007", Filter("seed", "=", "7")),
        (
            "seed:18446744073709551614..18446744073709551615",
            Filter("seed", "..", low="18446744073709551614", high="18446744073709551615"),
        ),
        ("cfg:7.50", Filter("cfg", "=", "7.5")),
        ("cfg:1..1e1", Filter("cfg", "..", low="1", high="10")),
        ("has:prompt", Filter("prompt", "has")),
        ("-has:rating", Filter("rating", "has", negate=True)),
        ("missing:TRUE", Filter("missing", "=", "yes")),
        ("date:2026", Filter("date", "..", low="2026-01-01", high="2026-12-31")),
        ("date:2026-01..2026-03", Filter("date", "..", low="2026-01-01", high="2026-03-31")),
        ("date:2024-02", Filter("date", "..", low="2024-02-01", high="2024-02-29")),
        ("-date:2026-05-04", Filter("date", "..", low="2026-05-04", high="2026-05-04", negate=True)),
        ("date:..2026-02", Filter("date", "..", low=None, high="2026-02-28")),
        ('auto:"blue eyes"', Filter("auto", "=", "=blue eyes")),
        ('auto:"blue eyes">=0.5', Filter("auto", "..", "=blue eyes", low="0.5", high=None)),
        ("-auto:tag=cat<=0.5", Filter("auto", "..", "tag=cat", low=None, high="0.5", negate=True)),
        ("auto:caption=*fox*", Filter("auto", "=", "caption=*fox*")),
        ("prompt:red hair", Filter("prompt", "=", "red hair")),
        ("model:v1..5", Filter("model", "=", "v1..5")),
    ],
)
def test_a_text_is_one_condition(text: str, expected: Filter) -> None:
    assert parse_filters([text]) == [expected]


def test_conditions_in_one_text_and_in_several_are_equal() -> None:
    in_one = parse_filters(['model:pony steps:20..40 -tag:bad "lora:my lora" has:prompt'])
    in_many = parse_filters(["model:pony", "steps:20..40", "-tag:bad", "lora:my lora", "has:prompt"])
    assert in_one == in_many
    assert [one.key for one in in_one] == ["model", "steps", "tag", "lora", "prompt"]


def test_size_is_two_conditions() -> None:
    assert parse_filters(["size:1024x768"]) == [Filter("width", "=", "1024"), Filter("height", "=", "768")]


def test_an_empty_text_is_no_condition() -> None:
    assert parse_filters([]) == parse_filters(["", "   "]) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("stepz:20", ["'stepz'", "did you mean steps?", "character 1"]),
        ("model:pony stepz:20", ["'stepz'", "character 12"]),
        ("pony", ["'pony'", "key:value", "--text"]),
        ("steps:many", ["'many' is not a whole number", "20..40"]),
        ("steps:40..20", ["reversed"]),
        ("steps:..", ["at least one end"]),
        ("steps:", ["value is missing"]),
        ("seed:18446744073709551616", ["not a seed"]),
        ("cfg:nan", ["not a number"]),
        ("date:2026-13", ["not a date"]),
        ("date:2026-02-30", ["not a date"]),
        ("date:0000", ["not a date"]),
        ("date:2026-05..2026-01", ["reversed"]),
        ("size:big", ["not a size", "1024x768"]),
        ("-size:1x1", ["-width:"]),
        ("missing:perhaps", ["neither yes nor no"]),
        ("has:steeps", ["'steeps'", "did you mean steps?"]),
        ("has:size", ["knows no key"]),
        ('model:"pony', ["quote at character 7", "not closed"]),
        ("model:pony ratio:16:9", ["'ratio'"]),
    ],
)
def test_an_error_names_its_position_and_the_correct_form(text: str, parts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filters([text])
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hostile_texts_are_refused_with_one_sentence() -> None:
    for text in (
        "-" * 10_000,
        "(" * 10_000,
        'a:"' * 3000,
        "steps:" + "9" * 10_000,
        "date:" + "1" * 5000,
        "\0:\0",
        "model:\x00",
    ):
        try:
            parse_filters([text])
        except UsageError:
            continue


def test_every_key_documents_its_values() -> None:
    assert all(key.expected for key in FILTER_KEYS.values())
