"""Composed and decomposed spellings (NFC, NFD) of one name are the same name everywhere."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from indexd.jobs.loras.registry import LoraRegistry
from indexd.model_files import ModelCatalogue
from indexd.name_key import existing_spelling, name_key
from indexd.prompts.word_matching import MatchedName, NameMatcher, prepend_missing_triggers
from indexd.store.records import Filter
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.recipe_part import FileKind
from tests.unit.store.sample_rows import Library

FORMS = [("NFC", "NFD"), ("NFD", "NFC")]


def spelled(form: str, text: str) -> str:
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


def on_disk(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if (path.parent / path.name) not in path.parent.iterdir():
        pytest.skip("this file system changes the Unicode form of names")
    return path


def test_equal_names_have_one_key() -> None:
    assert name_key(spelled("NFD", "MODÈLE")) == name_key("modèle")
    assert name_key("straße") == name_key("STRASSE")
    assert name_key("a") != name_key("ä")


@pytest.mark.parametrize(("stored", "asked"), FORMS)
@pytest.mark.parametrize("kind", ["checkpoint", "lora", "vae", "embedding", "upscaler"])
def test_a_model_file_is_found(tmp_path: Path, stored: str, asked: str, kind: FileKind) -> None:
    file = on_disk(tmp_path / spelled(stored, "dossier é") / f"{spelled(stored, 'modèle')}.safetensors")
    folders = {f"{kind}_folders": [tmp_path]}
    found = ModelCatalogue(**folders)  # type: ignore[arg-type]
    for name in ("modèle", "Modèle.safetensors", "dossier é/modèle"):
        assert found.find(kind, spelled(asked, name)).path == file


@pytest.mark.parametrize(("stored", "asked"), FORMS)
def test_an_entry_of_the_lora_registry_is_found(tmp_path: Path, stored: str, asked: str) -> None:
    file = tmp_path / "loras.yaml"
    file.write_text(f"{spelled(stored, 'décor')}:\n  weight: 0.5\n", "utf-8")
    entry = LoraRegistry(file).find(spelled(asked, "Décor"))
    assert entry is not None
    assert entry.weight == 0.5


@pytest.mark.parametrize(("stored", "asked"), FORMS)
def test_an_embedding_is_found_in_a_prompt_and_the_rest_is_unchanged(stored: str, asked: str) -> None:
    name, prompt = spelled(stored, "décor"), spelled(asked, "é star, Décor é")
    pieces = list(NameMatcher([name]).split(prompt))
    assert pieces == [spelled(asked, "é star, "), MatchedName(name), spelled(asked, " é")]


def test_a_name_is_no_part_of_an_accented_word() -> None:
    assert NameMatcher(["caf"]).find_names(spelled("NFD", "café")) == []
    assert NameMatcher(["cafe"]).find_names(spelled("NFD", "café")) == []


@pytest.mark.parametrize(("stored", "asked"), FORMS)
def test_a_trigger_word_that_is_there_is_not_added(stored: str, asked: str) -> None:
    prompt = f"a {spelled(stored, 'Café')} at night"
    assert prepend_missing_triggers(prompt, [spelled(asked, "café")], escaped=False) == prompt


@pytest.mark.parametrize(("stored", "asked"), FORMS)
def test_filters_find_models_and_paths(tmp_path: Path, stored: str, asked: str) -> None:
    with SqliteStore.open(tmp_path / "index.db") as store:
        library = Library(store, store.roots.ensure(b"/library", "images"))
        image = library.add(
            f"{spelled(stored, 'Été')}/{spelled(stored, 'forêt')}.png", model_name=spelled(stored, "modèle")
        )
        library.add("ete/foret.png", model_name="modele")
        for key, value in (("path", "Été"), ("path", "*/forêt.png"), ("path", "Été/*"), ("model", "MODÈLE")):
            assert store.filters.ids([Filter(key, "=", spelled(asked, value))]) == {image}, (key, value)


@pytest.mark.parametrize(("stored", "asked"), FORMS)
def test_a_file_is_found_by_the_other_spelling_of_its_path(tmp_path: Path, stored: str, asked: str) -> None:
    file = on_disk(tmp_path / spelled(stored, "é") / "ü" / spelled(stored, "quelle é.png"))
    assert existing_spelling(tmp_path / spelled(asked, "é") / "ü" / spelled(asked, "quelle é.png")) == file
    nothing = tmp_path / spelled(asked, "é") / spelled(asked, "ö.png")
    assert existing_spelling(nothing) == nothing
    assert existing_spelling(file) == file
