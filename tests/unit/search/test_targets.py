"""Image targets on the command line and in requests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexd.errors import UsageError
from indexd.search.query.image_target import (
    ImageTarget,
    format_target,
    parse_target,
    parse_target_argument,
    target_of_path,
)


@pytest.mark.parametrize(
    "target",
    [
        ImageTarget(image_id=12),
        ImageTarget(content_hash=bytes(range(32))),
        target_of_path("a b%ä.png"),
        ImageTarget(path=os.path.abspath("/x").encode() + b"\xff.png"),
    ],
)
def test_targets_are_serialized_and_parsed(target: ImageTarget) -> None:
    text = format_target(target)
    assert text.isascii()
    assert parse_target(text) == target


def test_an_existing_file_wins_over_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_target_argument("12") == parse_target_argument("#12") == ImageTarget(image_id=12)
    (tmp_path / "12").touch()
    assert parse_target_argument("12") == target_of_path(tmp_path / "12")
    assert parse_target_argument("gone.png") == target_of_path(tmp_path / "gone.png")
    assert parse_target_argument("ab" * 32) == ImageTarget(content_hash=b"\xab" * 32)


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
def test_an_invalid_target_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)
