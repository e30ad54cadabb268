"""Windows path rules, tested on any system: long paths, shares, reserved folder names."""

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
def test_a_long_path_gets_the_extended_prefix(path: str, long: str) -> None:
    assert to_long_path(path) == long
    assert PureWindowsPath(strip_long_prefix(long)) == PureWindowsPath(strip_long_prefix(path))


def test_the_length_limit_is_that_of_windows() -> None:
    assert to_long_path("C:\\" + "x" * (SHORT_PATH_CHARACTERS - 3)).startswith("C:")
    assert to_long_path("C:\\" + "x" * (SHORT_PATH_CHARACTERS - 2)).startswith("\\\\?\\C:")


def test_deep_files_are_opened_by_the_extended_path_and_shown_by_the_plain_one(
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
def test_an_ambiguous_windows_folder_is_refused(folder: str, good: bool) -> None:
    assert (windows_name_problem(folder) is None) == good


@pytest.mark.parametrize("name", ["CON", "nul.png", "a:b", "dots...", "space ", "COM1.tar.gz", "x" * 400, "a\x07b"])
def test_a_sanitized_name_is_one_component_that_windows_keeps(name: str) -> None:
    safe = safe_name(name)
    path = PureWindowsPath("C:\\out", f"{safe}.png")
    assert path.parts == ("C:\\", "out", f"{safe}.png")
    assert not path.is_reserved()
    assert safe == safe.rstrip(". ")
    assert len(safe.encode()) <= 120
