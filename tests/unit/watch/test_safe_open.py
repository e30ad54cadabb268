"""Only regular files are opened."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from indexd.errors import NotRegularFile
from indexd.fs.safe_open import open_regular


def test_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"data")
    for path in (tmp_path / "x", str(tmp_path / "x"), os.fsencode(tmp_path / "x")):
        with open_regular(path) as file:
            assert file.read() == b"data"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "socket"])
def test_irregular_files_are_refused_without_blocking(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    monkeypatch.chdir(tmp_path)
    if kind == "link":
        (tmp_path / "target").write_bytes(b"data")
        os.symlink("target", "x")
    elif kind == "folder":
        (tmp_path / "x").mkdir()
    elif kind == "pipe":
        os.mkfifo("x")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x")
    with pytest.raises(NotRegularFile, match=f"x is a {kind}"):
        open_regular("x")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
