"""The cookie file that checks whether the watcher reports events."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexd.watch.watchers.watcher_lifecycle import COOKIE_NAME, drop_cookie


def test_a_cookie_file_is_removed(folder: Path) -> None:
    (folder / os.fsdecode(COOKIE_NAME)).write_bytes(b"left by a crash")
    assert drop_cookie(os.fsencode(folder)) == "dropped"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("number", "word"), [(13, "read-only"), (30, "read-only"), (28, "failed")])
def test_a_read_only_folder_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str) -> None:
    def refusing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refusing)
    assert drop_cookie(os.fsencode(folder)) == word


def test_a_link_at_the_cookie_path_is_not_followed(folder: Path) -> None:
    (folder / "mine").write_bytes(b"data")
    (folder / os.fsdecode(COOKIE_NAME)).symlink_to("mine")
    assert drop_cookie(os.fsencode(folder)) == "failed"
    assert (folder / "mine").read_bytes() == b"data"
