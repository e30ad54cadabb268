"""The tiny models are what they claim to be: the real architectures, loadable by the libraries without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from tests.support.tiny_models.models import TinyModels, build_models, models_in

MODULES = ("unet", "vae", "text_encoder", "text_encoder_2")


@pytest.fixture(scope="module")
def folder_pipeline(tiny_models: TinyModels) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(
        tiny_models.sdxl, torch_dtype=torch.float16, local_files_only=True, add_watermarker=False
    )


def test_the_single_file_is_the_same_model_as_the_folder(
    tiny_models: TinyModels, folder_pipeline: StableDiffusionXLPipeline
) -> None:
    single = StableDiffusionXLPipeline.from_single_file(
        str(tiny_models.single_file),
        config=str(tiny_models.single_file_config),
        torch_dtype=torch.float16,
        local_files_only=True,
        add_watermarker=False,
    )
    for name in MODULES:
        theirs, ours = getattr(single, name).state_dict(), getattr(folder_pipeline, name).state_dict()
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], ours[key]) for key in ours), name


def test_the_topology_is_that_of_sdxl_with_fewer_layers(tiny_models: TinyModels) -> None:
    unet = json.loads((tiny_models.sdxl / "unet" / "config.json").read_text())
    assert unet["transformer_layers_per_block"] == [1, 1, 2]
    assert unet["down_block_types"] == ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
    assert unet["addition_embed_type"] == "text_time"
    keys = load_file(tiny_models.single_file).keys()
    for name in (
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.label_emb.0.2.weight",
        "first_stage_model.decoder.up.3.block.2.conv1.weight",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
    ):
        assert name in keys


def test_the_lora_reaches_all_three_modules(tiny_models: TinyModels) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        tiny_models.sdxl, torch_dtype=torch.float32, local_files_only=True, add_watermarker=False
    )
    pipeline.load_lora_weights(str(tiny_models.lora), adapter_name="tiny")
    assert set(pipeline.get_list_adapters()) == {"unet", "text_encoder", "text_encoder_2"}
    file = load_file(tiny_models.lora)
    ups = sum(key.endswith("lora_up.weight") for key in file)
    loaded = [
        weight
        for name in MODULES
        for key, weight in getattr(pipeline, name).state_dict().items()
        if key.endswith("lora_B.tiny.weight")
    ]
    assert len(loaded) == ups
    assert all(weight.abs().sum() > 0 for weight in loaded)


def test_the_tokenizer_is_one_token_a_byte(tiny_models: TinyModels) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_models.sdxl / "tokenizer_2", local_files_only=True)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (512, 513, 0)
    assert len(tokenizer("fox é", add_special_tokens=False).input_ids) == len("fox") + len("é".encode())


def test_building_again_leaves_what_is_there(tiny_models: TinyModels) -> None:
    stamp = tiny_models.single_file.stat().st_mtime_ns
    assert build_models(tiny_models.folder) == tiny_models == models_in(tiny_models.folder)
    assert tiny_models.single_file.stat().st_mtime_ns == stamp


def test_every_build_gives_the_same_weights(tiny_models: TinyModels, tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    again = build_models(tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), state)
    for name in ("single_file", "lora"):
        one, two = load_file(getattr(tiny_models, name)), load_file(getattr(again, name))
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert sum(file.stat().st_size for file in (tmp_path / "again").rglob("*")) < 16_000_000
