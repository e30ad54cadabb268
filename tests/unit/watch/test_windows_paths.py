"""Paths of Windows, by their rules and without a Windows: long ones, shares, what a folder must not be called."""

from __future__ import annotations

from pathlib import PureWindowsPath

import pytest

from indexd.fs import paths
from indexd.fs.paths import SHORT_PATH_CHARACTERS, strip_long_prefix, to_long_path
from indexd.jobs.files.output_names import safe_name, windows_name_problem

LONG = "\\".join(["x" * 50] * 6)


@pytest.mark.parametrize(
    ("path", "long"),
    [
        (f"C:\\{LONG}", f"\\\\?\\C:\\{LONG}"),
        (f"C:/{LONG}/a.png", f"\\\\?\\C:\\{LONG}\\a.png"),
        (f"\\\\nas\\pictures\\{LONG}", f"\\\\?\\UNC\\nas\\pictures\\{LONG}"),
        (f"\\\\?\\C:\\{LONG}", f"\\\\?\\C:\\{LONG}"),
        ("C:\\short\\a.png", "C:\\short\\a.png"),
    ],
)
def test_a_long_path_is_written_so_that_it_can_be_opened(path: str, long: str) -> None:
    assert to_long_path(path) == long
    assert PureWindowsPath(strip_long_prefix(long)) == PureWindowsPath(strip_long_prefix(path))


def test_the_limit_is_where_windows_has_it() -> None:
    assert to_long_path("C:\\" + "x" * (SHORT_PATH_CHARACTERS - 3)).startswith("C:")
    assert to_long_path("C:\\" + "x" * (SHORT_PATH_CHARACTERS - 2)).startswith("\\\\?\\C:")


def test_watched_files_deep_down_are_opened_by_their_long_form_and_shown_by_their_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paths, "_SEPARATOR", b"\\")
    deep = paths.absolute(b"D:\\out", LONG.replace("\\", "/").encode() + b"/a.png")
    assert deep == f"\\\\?\\D:\\out\\{LONG}\\a.png".encode()
    assert paths.display(deep) == f"D:\\out\\{LONG}\\a.png"
    assert paths.absolute(b"D:\\out", b"deep/a.png") == b"D:\\out\\deep\\a.png"


@pytest.mark.parametrize(
    ("folder", "good"),
    [
        ("D:\\pictures\\red dress", True),
        ("\\\\nas\\pictures\\2026", True),
        ("D:\\", True),
        ("D:\\a:b", False),
        ("D:\\CON\\x", False),
        ("D:\\nul.txt", False),
        ("D:\\lpt1", False),
        ("D:\\dots...", False),
        ("D:\\space \\x", False),
        ("D:\\wild*", False),
        ("\\\\.\\PhysicalDrive0", False),
        ("\\\\?\\C:\\x", False),
        ("D:\\.hidden", True),
    ],
)
def test_a_folder_that_windows_would_take_for_another_is_refused(folder: str, good: bool) -> None:
    assert (windows_name_problem(folder) is None) == good


@pytest.mark.parametrize("name", ["CON", "nul.png", "a:b", "dots...", "space ", "COM1.tar.gz", "x" * 400, "a\x07b"])
def test_a_name_that_was_made_safe_is_one_part_that_windows_keeps_as_it_is(name: str) -> None:
    safe = safe_name(name)
    path = PureWindowsPath("C:\\out", f"{safe}.png")
    assert path.parts == ("C:\\", "out", f"{safe}.png")
    assert not path.is_reserved()
    assert safe == safe.rstrip(". ")
    assert len(safe.encode()) <= 120
