"""A worker without a file handle: the whole call fails and is sent again, and no picture is said to be damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexd.images.decode import decode_image, make_thumbnails
from indexd.models import image_inputs
from indexd.worker.calls import MakeThumbnails
from tests.support.handle_shortage import HandleShortage, refuse_each


def _opened(path: bytes, _folder: Path) -> object:
    problems: dict[int, str] = {}
    list(image_inputs.iterate_images([path], [], 4, problems))
    return problems


def _shrunk(path: bytes, folder: Path) -> object:
    made = make_thumbnails(MakeThumbnails(((path, path[-32:]),), str(folder), 32))
    return made.problems


@pytest.mark.parametrize("work", [_opened, _shrunk])
def test_a_picture_is_not_blamed_for_a_handle_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[bytes, Path], object]
) -> None:
    Image.new("RGBA", (8, 8)).save(tmp_path / "a.webp", lossless=True)
    path = str(tmp_path / "a.webp").encode()
    assert work(path, tmp_path / "before") == {}
    shortage = HandleShortage(monkeypatch)
    for number in refuse_each(shortage, 1):
        try:
            told = work(path, tmp_path / str(number))
        except OSError as error:
            assert error.errno == errno.EMFILE
        else:
            assert told == {}
    assert number


@pytest.mark.parametrize("work", [_opened, _shrunk])
@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ESTALE])
def test_a_picture_on_a_dead_share_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[bytes, Path], object], number: int
) -> None:
    share = str(tmp_path / "share").encode()
    for name in ("stat", "lstat", "open"):
        real = getattr(os, name)

        def answers(path: Any, *more: Any, real: Callable[..., Any] = real, **named: Any) -> Any:
            if not isinstance(path, int) and os.fsencode(path).startswith(share):
                raise OSError(number, os.strerror(number), path)
            return real(path, *more, **named)

        monkeypatch.setattr(os, name, answers)
    told = work(share + b"/a.webp", tmp_path / "thumbnails")
    assert isinstance(told, dict)
    assert list(told) == [0]


def test_what_is_hidden_in_a_picture_is_not_called_absent_for_want_of_a_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGBA", (8, 8)).save(tmp_path / "a.webp", lossless=True)
    HandleShortage(monkeypatch).refuse(0, 1)
    with pytest.raises(OSError, match="Too many open files"):
        decode_image(tmp_path / "a.webp")
