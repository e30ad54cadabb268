"""Model files by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexd.model_files import ModelCatalogue, UnknownModel, UnusableModel
from indexd_schemas.recipe_part import FileKind
from tests.support.model_files import PICKLE, SD1_LORA, SDXL_LORA, Shapes, write_model


@pytest.fixture
def models(tmp_path: Path) -> Path:
    names = ("a/dream.safetensors", "a/xl/dream.safetensors", "a/xl/Flat_v2.SAFETENSORS", "a/old.ckpt", "a/notes.txt",
             "a/folder/model_index.json", "a/folder/unet/weights.safetensors", "a/.trash/gone.safetensors",
             "base/model_index.json", "loras/v1.5.safetensors")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def catalogue(models: Path) -> ModelCatalogue:
    return ModelCatalogue([models / "a"], [models / "loras"], models / "base")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("dream", "a/dream.safetensors"),
        ("Dream.safetensors", "a/dream.safetensors"),
        ("xl/dream", "a/xl/dream.safetensors"),
        ("xl\\dream", "a/xl/dream.safetensors"),
        ("flat_v2", "a/xl/Flat_v2.SAFETENSORS"),
        ("folder", "a/folder"),
        ("base", "base"),
    ],
)
def test_a_name_finds_its_file(catalogue: ModelCatalogue, models: Path, name: str, path: str) -> None:
    assert catalogue.checkpoint(name).path == models / path


def test_vaes_lie_in_folders_of_their_own(models: Path) -> None:
    (models / "vae").mkdir()
    (models / "vae" / "sdxl_vae.safetensors").touch()
    assert (
        ModelCatalogue(vae_folders=[models / "vae"]).find("vae", "sdxl_vae").path
        == models / "vae" / "sdxl_vae.safetensors"
    )
    with pytest.raises(UnknownModel, match="no VAE folder is named"):
        ModelCatalogue().find("vae", "sdxl_vae")


def test_a_name_with_a_dot_is_whole(catalogue: ModelCatalogue) -> None:
    assert catalogue.find("lora", "v1.5").name == "v1.5"


@pytest.mark.parametrize("name", ["gone", "notes", "weights", "old", "a/dream", "/etc/passwd", "../a/dream", ""])
def test_what_is_no_model_here_is_unknown(catalogue: ModelCatalogue, name: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        catalogue.checkpoint(name)
    assert set(caught.value.known) == {"dream", "xl/dream", "xl/Flat_v2", "folder", "base"}


def test_pickles_are_only_known_when_allowed(models: Path) -> None:
    assert ModelCatalogue([models / "a"], allow_pickles=True).checkpoint("old").path.name == "old.ckpt"


def test_an_ambiguous_name_names_the_choices(models: Path) -> None:
    (models / "a" / "dream.safetensors").rename(models / "a" / "xl" / "b.safetensors")
    (models / "a" / "sd").mkdir()
    (models / "a" / "sd" / "dream.safetensors").touch()
    with pytest.raises(UnknownModel, match="'dream' could be 'sd/dream' or 'xl/dream'; write one of these"):
        ModelCatalogue([models / "a"]).checkpoint("dream")


def test_a_file_that_came_or_went_is_noticed(catalogue: ModelCatalogue, models: Path) -> None:
    with pytest.raises(UnknownModel):
        catalogue.checkpoint("new")
    (models / "a" / "new.safetensors").touch()
    assert catalogue.checkpoint("new").name == "new"
    (models / "a" / "new.safetensors").unlink()
    with pytest.raises(UnknownModel):
        catalogue.checkpoint("new")


def test_a_link_that_leads_back_is_walked_once(catalogue: ModelCatalogue, models: Path) -> None:
    (models / "a" / "loop").symlink_to(models / "a")
    assert catalogue.checkpoint("dream").path == models / "a" / "dream.safetensors"
    assert len(catalogue.checkpoints.names()) == 5


def test_a_default_that_is_not_there_is_named_all_the_same(models: Path) -> None:
    catalogue = ModelCatalogue(default=models / "later.safetensors")
    assert catalogue.default_checkpoint().name == "later"
    with pytest.raises(UnknownModel, match=r"later.safetensors of \[models.generator\] is not there"):
        catalogue.checkpoint("later")
    with pytest.raises(UnknownModel, match="no checkpoint is named"):
        ModelCatalogue().default_checkpoint()


def test_the_configuration_beside_a_file_is_no_checkpoint(models: Path) -> None:
    for name in ("a/dream.config", "a/alone.config"):
        (models / name).mkdir()
        (models / name / "model_index.json").touch()
    names = {file.name for file in ModelCatalogue([models / "a"]).checkpoints.list_files()}
    assert "dream.config" not in names
    assert "alone.config" in names


def test_the_hash_that_a1111_writes_after_a_name_does_not_count(catalogue: ModelCatalogue, models: Path) -> None:
    assert catalogue.checkpoint("dream.safetensors [31e35c80fc]").path == models / "a" / "dream.safetensors"
    (models / "a" / "dream [31e35c80fc].safetensors").touch()
    assert (
        ModelCatalogue([models / "a"]).checkpoint("dream [31e35c80fc]").path
        == models / "a" / "dream [31e35c80fc].safetensors"
    )


@pytest.mark.parametrize(
    ("kind", "file", "shapes", "reason"),
    [
        ("checkpoint", "x.safetensors", SDXL_LORA, "checkpoint 'x' is a LoRA of SDXL, not a checkpoint; name it under `loras:`"),
        ("checkpoint", "x.safetensors", None, "checkpoint 'x' is empty (0 bytes); download it again"),
        ("checkpoint", "x.gguf", b"GGUF", "checkpoint 'x.gguf' is a GGUF file, which indexd cannot read"),
        ("checkpoint", "x.ckpt", PICKLE, "checkpoint 'x.ckpt' is a pickle, which can carry code; convert it"),
        ("lora", "x.safetensors", SD1_LORA, "LoRA 'x' was made for Stable Diffusion 1, and indexd renders with SDXL"),
        ("lora", "x.safetensors", b"<!DOCTYPE html>", "LoRA 'x' is a web page, not a model"),
        ("lora", "x.pt", PICKLE, "LoRA 'x.pt' is a pickle, which can carry code; convert it to .safetensors"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_by_its_header(
    tmp_path: Path, kind: FileKind, file: str, shapes: Shapes | bytes | None, reason: str
) -> None:
    path = tmp_path / "m" / file
    path.parent.mkdir()
    if isinstance(shapes, bytes) or shapes is None:
        path.write_bytes(shapes or b"")
    else:
        write_model(path, shapes)
    catalogue = ModelCatalogue([tmp_path / "m"], [tmp_path / "m"])
    with pytest.raises(UnusableModel) as refused:
        catalogue.find_usable(kind, "x")
    assert str(refused.value).startswith(reason)


def test_a_file_that_was_mended_is_looked_at_again(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m" / "x.safetensors", SDXL_LORA).read_bytes()
    catalogue = ModelCatalogue(lora_folders=[tmp_path / "m"])
    (tmp_path / "m" / "x.safetensors").write_bytes(whole[:-1])
    with pytest.raises(UnusableModel, match="is cut off"):
        catalogue.find_usable("lora", "x")
    (tmp_path / "m" / "x.safetensors").write_bytes(whole)
    assert catalogue.find_usable("lora", "x").name == "x"
