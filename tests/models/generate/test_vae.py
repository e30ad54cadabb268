"""Another VAE: both layouts, its own pixels, the model untouched, refusals in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from indexd.errors import RenderFailed
from indexd.worker.calls import Rendered
from indexd_schemas.recipe_part import FileKey
from tests.models.generate.conftest import recipe_data


@pytest.fixture
def other(tiny_models: Any, tmp_path: Path) -> Path:
    """The tiny model's VAE with a shifted last bias: the same picture, a little brighter."""
    weights = load_file(Path(tiny_models.sdxl) / "vae" / "diffusion_pytorch_model.safetensors")
    weights["decoder.conv_out.bias"] = weights["decoder.conv_out.bias"] + 0.25
    save_file(weights, tmp_path / "bright.safetensors")
    return tmp_path / "bright.safetensors"


def made_with(studio: Any, vae: Path, **fields: Any) -> Rendered:
    recipe = studio.recipe(vae={"name": vae.stem}, **fields)
    made: Rendered = studio.render(recipe, {FileKey("vae", vae.stem): vae})
    return made


def test_its_pixels_are_its_own_and_the_model_stays(studio: Any, look: Any, other: Path) -> None:
    before = studio()
    made = made_with(studio, other)
    assert look(made).mean() > look(before).mean() + 10
    assert recipe_data(made)["vae"]["name"] == "bright"
    assert len(recipe_data(made)["vae"]["hash"]) == 10
    assert b"VAE: bright" in made.encoded
    assert studio().encoded == before.encoded
    assert made_with(studio, other).encoded == made.encoded


def test_the_original_layout_gives_the_same_pixels(studio: Any, look: Any, tiny_models: Any, tmp_path: Path) -> None:
    whole = load_file(tiny_models.single_file)
    part = {key.removeprefix("first_stage_model."): one for key, one in whole.items() if key.startswith("first_stage")}
    save_file(part, tmp_path / "plain.safetensors")
    assert np.array_equal(look(made_with(studio, tmp_path / "plain.safetensors")), look(studio()))


def test_what_is_no_fitting_vae_is_one_sentence(studio: Any, other: Path, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "none.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(other.read_bytes()[:100])
    weights = load_file(other)
    save_file(weights | {(key := min(weights)): weights[key] * float("nan")}, tmp_path / "nan.safetensors")
    reasons = {"none": "does not fit", "torn": "is cut off", "nan": "is damaged: it has values that are no numbers in"}
    for name, reason in reasons.items():
        with pytest.raises(RenderFailed, match=f"VAE {name}.safetensors {reason}"):
            made_with(studio, tmp_path / f"{name}.safetensors")
    with pytest.raises(RenderFailed, match=r"VAE gone.safetensors cannot be read"):
        made_with(studio, tmp_path / "gone.safetensors")


def test_a_recipe_with_another_hash_is_not_made(studio: Any, other: Path) -> None:
    recipe = studio.recipe(vae={"name": "bright", "hash": "0123456789"})
    with pytest.raises(RenderFailed, match="VAE bright is not the file"):
        studio.render(recipe, {FileKey("vae", "bright"): other})
    with pytest.raises(RenderFailed, match="VAE bright has no file"):
        studio(vae={"name": "bright"})
