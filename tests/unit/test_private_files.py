"""Ownership and modes of files; Windows has neither user ids nor permission bits."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from indexd.fs.private_files import (
    belongs_to_another_user,
    current_user_id,
    may_be_changed_by_others,
    may_be_opened_by_others,
)


def _stat(mode: int, user: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, user, 0, 0, 0, 0, 0))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permission bits")
def test_modes_and_owners_tell_who_may_open_a_file(tmp_path: Path) -> None:
    user = current_user_id()
    assert user is not None
    assert not belongs_to_another_user(tmp_path.stat())
    assert belongs_to_another_user(_stat(0o100600, user + 1))
    assert [may_be_opened_by_others(_stat(mode, user)) for mode in (0o600, 0o640, 0o604)] == [False, True, True]
    assert [may_be_changed_by_others(_stat(mode, user)) for mode in (0o755, 0o777, 0o1777)] == [False, True, False]


def test_windows_asks_for_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    # Python on Windows reports user 0 and mode 0666 for every file.
    info = _stat(0o100666, 0)
    assert current_user_id() is None
    assert not belongs_to_another_user(info)
    assert not may_be_opened_by_others(info)
    assert not may_be_changed_by_others(info)
