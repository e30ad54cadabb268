"""Names that never leave their folder and can be written everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexd.jobs.files.output_names import (
    MAX_NAME_BYTES,
    complete_pattern,
    resolve_output_folder,
    safe_name,
    unique_file_names,
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("portrait", "portrait"),
        ("a/b\\c:d*e?f", "a_b_c_d_e_f"),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        (".hidden", "_.hidden"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com¹", "_com¹"),
        ("console", "console"),
        ("dots...", "dots"),
        ("space ", "space"),
        ("a\u202egnp", "a_gnp"),
        ("a\nb\x00c", "a_b_c"),
        ("cafe\u0301", "café"),
        ("狐狸", "狐狸"),
    ],
)
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_a_name_is_cut_between_characters() -> None:
    name = safe_name("狐" * 200)
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert set(name) == {"狐"}


def test_names_differ_even_without_letter_case() -> None:
    words = [{"seed": "5"}, {"seed": "5"}, {"seed": "6"}]
    assert unique_file_names("Fox-{seed}", words, [".png"] * 3, {"fox-6.png"}.__contains__) == [
        "Fox-5.png",
        "Fox-5-2.png",
        "Fox-6-2.png",
    ]


def test_a_pattern_for_several_pictures_gets_the_index() -> None:
    assert complete_pattern("hero", 1) == "hero"
    assert complete_pattern("hero", 2) == "hero-{index}"
    assert complete_pattern("hero {seed}", 2) == "hero {seed}"
    assert complete_pattern("", 1) == "{name}-{index}"


def test_what_stands_in_a_placeholder_cannot_escape_or_name_another() -> None:
    assert unique_file_names("{prompt}", [{"prompt": "../../{seed}/x"}], [".png"], lambda _name: False) == [
        "_.._.._{seed}_x.png"
    ]


def test_output_folders(tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert resolve_output_folder("", output) == output
    assert resolve_output_folder("a/b", output) == output / "a" / "b"
    assert resolve_output_folder("./a//b/", output) == output / "a" / "b"
    assert resolve_output_folder(str(tmp_path), output) == tmp_path
    assert resolve_output_folder(str(tmp_path / "new"), output) == tmp_path / "new"
