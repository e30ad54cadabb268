"""Weights in front of a colon, and texts that only look like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexd.errors import UsageError
from indexd.search.query.term_weights import parse_weighted_value


@pytest.mark.parametrize(
    ("text", "weight", "rest"),
    [
        ("a cat", 1.0, "a cat"),
        ("0.5:a cat", 0.5, "a cat"),
        ("2:a cat", 2.0, "a cat"),
        (".5:cat", 0.5, "cat"),
        ("0.5:90s anime", 0.5, "90s anime"),
        ("16:9 wide shot", 1.0, "16:9 wide shot"),
        ("1.0:16:9 wide shot", 1.0, "16:9 wide shot"),
        ("12:30 at night", 1.0, "12:30 at night"),
        ("masterpiece:1.2", 1.0, "masterpiece:1.2"),
        ("(cat:1.2), dog", 1.0, "(cat:1.2), dog"),
        ("0.5:", 1.0, "0.5:"),
    ],
)
def test_weights_of_texts_are_parsed(text: str, weight: float, rest: str) -> None:
    assert parse_weighted_value(text, "--text", is_image=False) == (weight, rest)


def test_weights_of_images_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_weighted_value("2:00001.png", "--similar", is_image=True) == (2.0, "00001.png")
    assert parse_weighted_value(r"0.5:C:\a.png", "--similar", is_image=True) == (0.5, r"C:\a.png")
    assert parse_weighted_value(r"C:\a.png", "--similar", is_image=True) == (1.0, r"C:\a.png")


def test_a_file_with_exactly_this_name_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "2:b.png"
    try:
        Path(name).touch()
    except OSError:
        pytest.skip("no colons in file names here")
    assert parse_weighted_value(name, "--similar", is_image=True) == (1.0, name)


@pytest.mark.parametrize("text", ["0:cat", "-1:cat", "101:cat", "0.0:cat"])
def test_an_invalid_weight_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--text .* a weight must be above 0 and at most 100; for a negative term"):
        parse_weighted_value(text, "--text", is_image=False)
