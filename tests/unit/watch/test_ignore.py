"""Which file names are ignored."""

from __future__ import annotations

import pytest

from indexd.watch.watch_filter import WatchFilter
from indexd_schemas.settings import RootSettings, WatchSettings


@pytest.mark.parametrize(
    "rel",
    [
        b".hidden.png",
        b"a/.stfolder/x.png",
        b"@eaDir/x.png",
        b"deep/@EADIR/x.png",
        b"System Volume Information/x.png",
        b"$RECYCLE.BIN/x.png",
        b"x.png.tmp",
        b"x.PART",
        b"x.crdownload",
        b"x.png~",
        b"~$x.png",
        b".indexd-cookie",
        b"Thumbs.db",
    ],
)
def test_built_in_rules_ignore_temporary_files(rel: bytes) -> None:
    assert not WatchFilter().includes_path(rel)


@pytest.mark.parametrize("rel", [b"x.png", b"a b/c.d/x.jpeg", b"\xff\xfe.png", "ü/é.webp".encode(), b"template.png"])
def test_image_files_are_accepted(rel: bytes) -> None:
    assert WatchFilter().includes_path(rel)


@pytest.mark.parametrize(
    ("glob", "inside", "outside"),
    [
        ("**/*.png", b"a/b/x.png", b"a/x.jpg"),
        ("**/*.png", b"x.png", b"x.png.txt"),
        ("*.png", b"a/b/x.png", b"a/x.gif"),
        ("a/*.png", b"a/x.png", b"a/b/x.png"),
        ("2024-[01]?/**", b"2024-11/x.png", b"2024-21/x.png"),
        ("[!a]/*", b"b/x.png", b"a/x.png"),
        ("a**/x.png", b"a/b/c/x.png", b"b/x.png"),
        ("out.png/", b"out.png", b"outer.png"),
        ("v1.(0)+/*", b"v1.(0)+/x.png", b"v1x(0)+/x.png"),
    ],
)
def test_globs_match_paths(glob: str, inside: bytes, outside: bytes) -> None:
    selection = WatchFilter(include=[glob])
    assert (selection.includes_path(inside), selection.includes_path(outside)) == (True, False)


@pytest.mark.parametrize("rel", [b"x.sheet.png", b"a/x-2.Sheet.PNG", b"x.sheet-3.png"])
def test_the_sheet_of_a_series_is_ignored(rel: bytes) -> None:
    assert "it is the sheet of a series" in (WatchFilter().exclusion_reason(rel) or "")


@pytest.mark.parametrize("rel", [b"sheet.png", b"x.sheet.jpg", b"x.sheet2.png", b"x-sheet.png"])
def test_other_names_with_that_word_are_no_sheets(rel: bytes) -> None:
    assert WatchFilter().includes_path(rel)


@pytest.mark.parametrize("rel", [b"x.txt", b"x.png.txt", b"model.safetensors", b"png", b"x.mp3"])
def test_other_file_types_are_ignored(rel: bytes) -> None:
    assert not WatchFilter().includes_path(rel)
    assert "its name has no image suffix" in (WatchFilter().exclusion_reason(rel) or "")


def test_an_excluded_folder_is_not_entered() -> None:
    selection = WatchFilter(exclude=["tmp/**", "drafts"])
    assert not selection.enters(b"tmp")
    assert not selection.enters(b"a/drafts")
    assert not selection.includes_path(b"a/drafts/b/x.png")
    assert selection.enters(b"a/tmp")


def test_ignore_settings_apply_at_every_depth() -> None:
    selection = WatchFilter.from_settings(
        RootSettings(path="~/x", include=("*.png",)), WatchSettings(ignore=("Trash", "*.bak.png"))
    )
    assert selection.includes_path(b"a/x.png")
    assert not selection.includes_path(b"a/Trash/x.png")
    assert not selection.includes_path(b"x.bak.png")
    assert not selection.includes_path(b"x.jpg")


def test_the_inbox_takes_job_files_directly_inside_it() -> None:
    inbox = WatchFilter(purpose="jobs")
    assert inbox.includes_path(b"a.yaml")
    assert inbox.includes_path(b"B.YML")
    assert inbox.includes_path(b"c.json")
    assert [rel for rel in (b"accepted/a.yaml", b"a.txt", b".a.yaml", b"a.yaml.tmp") if inbox.includes_path(rel)] == []
    assert not inbox.enters(b"done")


@pytest.mark.parametrize(
    ("rel", "word"),
    [(b".x.png", "hidden"), (b"@eaDir/x.png", "@eaDir"), (b"skip/x.png", "excluded"), (b"x.gif", "include")],
)
def test_the_reason_names_the_rule(rel: bytes, word: str) -> None:
    assert word in (WatchFilter(include=["*.png"], exclude=["skip/**"]).exclusion_reason(rel) or "")
