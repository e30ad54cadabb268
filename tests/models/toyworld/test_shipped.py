"""What ships: every model is there, half precision, small enough, and the single file is the folder's model."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from indexd.generate.sdxl.single_file import load_single_file
from indexd_toyworld.model_paths import ToyModels
from indexd_toyworld.single_file import write_single_file

MOST_BYTES = 25_000_000


def test_every_model_is_there_and_all_are_small(toy_world: ToyModels) -> None:
    missing = [field.name for field in fields(toy_world) if not getattr(toy_world, field.name).exists()]
    assert missing == []
    assert sum(file.stat().st_size for file in toy_world.folder.rglob("*") if file.is_file()) <= MOST_BYTES


def test_the_weights_are_of_half_precision(toy_world: ToyModels) -> None:
    files = sorted(toy_world.folder.rglob("*.safetensors"))
    assert len(files) >= 7
    for file in files:
        with safe_open(file, "pt") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        assert not kinds & {"F32", "F64"}, file


def test_nothing_in_the_configurations_tells_of_the_machine(toy_world: ToyModels) -> None:
    for file in toy_world.folder.rglob("*.json"):
        text = file.read_text("utf-8")
        assert "/tmp/" not in text, file
        assert "/home/" not in text, file


def test_the_single_file_is_the_same_model_as_the_folder(toy_world: ToyModels, tmp_path: Path) -> None:
    file = write_single_file(tmp_path)
    pipeline = load_single_file(file, torch.float16, pickle_allowed=False, scratch_folder="").pipeline
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        (weights_file,) = (toy_world.sdxl / name).glob("*.safetensors")
        with safe_open(weights_file, "pt") as weights:
            ours = getattr(pipeline, name).state_dict()
            assert set(weights.keys()) - set(ours) == set()
            assert all(torch.equal(weights.get_tensor(key), ours[key]) for key in weights.keys()), name  # noqa: SIM118


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_2"])
def test_the_single_file_brings_its_tokenizers(tmp_path: Path, part: str) -> None:
    target = write_single_file(tmp_path)
    assert (target.with_suffix(".config") / part / "vocab.json").is_file()
