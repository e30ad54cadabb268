"""`indexd loras`: the files and the registry as a table and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.model_files import SD1_LORA, SDXL_LORA, write_model
from tests.unit.cli.conftest import Indexd

REGISTRY = """\
film-grain: {type: style, min_weight: 0.2, max_weight: 1.0, weight: 0.6, triggers: [film grain], excludes: [anime]}
gone: {type: character, stackable: false}
"""


@pytest.fixture
def lora_folder(home: Path) -> Path:
    folder = home / "models"
    write_model(folder / "film-grain.safetensors", SDXL_LORA)
    write_model(folder / "sub" / "ink.safetensors", SD1_LORA)
    (home / "indexd.toml").write_text(f'[generate]\nlora_folders = ["{folder.as_posix()}"]\n', "utf-8")
    (home / "loras.yaml").write_text(REGISTRY, "utf-8")
    return home


def test_the_table_shows_files_and_entries(indexd: Indexd, lora_folder: Path) -> None:
    ran = indexd("loras")
    assert ran.code == 0
    rows = {line.split()[0]: line for line in ran.out.splitlines()}
    for part in ("style", "0.2..1 (usually 0.6)", "film grain", "not anime", "142.7 KiB", "SDXL LoRA rank 8"):
        assert part in rows["film-grain"]
    assert "UNUSABLE: was made for" in rows["sub/ink"]
    assert "no file" in rows["gone"]
    assert "alone" in rows["gone"]


def test_words_narrow_it_and_json_says_all(indexd: Indexd, lora_folder: Path) -> None:
    ran = indexd("loras", "STYLE", "grain", "--json")
    assert ran.json["registry"] == str(lora_folder / "loras.yaml")
    [lora] = ran.json["loras"]
    assert lora["path"].endswith("film-grain.safetensors")
    assert lora["registered"]["triggers"] == ["film grain"]
    [ink] = indexd("loras", "ink", "--json").json["loras"]
    assert ink["registered"] is None
    assert ink["problem"].startswith("was made for Stable Diffusion 1, and indexd renders with SDXL")
    nothing = indexd("loras", "horse")
    assert (nothing.code, nothing.out) == (3, "")
    assert "no LoRA is like that" in nothing.err


def test_nothing_there(indexd: Indexd, home: Path) -> None:
    ran = indexd("loras")
    assert ran.code == 3
    assert "lora_folders" in ran.err


def test_a_bad_registry_is_one_sentence_here_and_in_doctor(indexd: Indexd, lora_folder: Path) -> None:
    (lora_folder / "loras.yaml").write_text("film-grain:\n  type: pose\n", "utf-8")
    ran = indexd("loras")
    assert ran.code == 1
    assert (
        f"the LoRA registry {lora_folder / 'loras.yaml'} cannot be used: line 2, column 9: film-grain: type must"
        in ran.err
    )
    assert "line 2, column 9" in indexd("doctor").out


def test_doctor_names_an_entry_without_a_file(indexd: Indexd, lora_folder: Path) -> None:
    assert "1 registered LoRAs have no file, the first is gone" in indexd("doctor").out
