"""How pictures are named on the command line and on the wire."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexd.errors import UsageError
from indexd.search.targets import Target, from_text, of_path, parse_argument, to_text


@pytest.mark.parametrize(
    "target",
    [
        Target(image_id=12),
        Target(content_hash=bytes(range(32))),
        of_path("a b%ä.png"),
        Target(path=os.path.abspath("/x").encode() + b"\xff.png"),
    ],
)
def test_what_travels_comes_back(target: Target) -> None:
    text = to_text(target)
    assert text.isascii()
    assert from_text(text) == target


def test_an_existing_file_wins_over_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_argument("12") == parse_argument("#12") == Target(image_id=12)
    (tmp_path / "12").touch()
    assert parse_argument("12") == of_path(tmp_path / "12")
    assert parse_argument("gone.png") == of_path(tmp_path / "gone.png")
    assert parse_argument("ab" * 32) == Target(content_hash=b"\xab" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "id:",
        "id:x",
        "id:99999999999999999999",
        "hash:ab",
        "path:relative",
        "path:",
        "path:/a%00b",
        "url:http://x",
    ],
)
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        from_text(text)
