"""Checkpoints from disk: folders, single files, tokenizers from elsewhere, and files that are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from indexd.errors import ModelUnavailable, RenderFailed
from indexd.generate.sdxl.clip_tokenizers import build_clip_tokenizers
from indexd.generate.sdxl.single_file import SHIPPED_CONFIG, load_single_file
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey
from tests.models.generate.conftest import recipe_data

PROMPTS = [
    "a photo of a cat, (masterpiece:1.2), 123 naïve café don't 日本語 😀",
    "",
    "HELLO   world\nnew line",
    "1girl, solo, <lora:x:0.8> rock'n'roll it's 3.5mm f/1.8",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_tokenizers_made_from_the_merges_are_clips_own(prompt: str) -> None:
    expected = [token for token in open_clip.get_tokenizer("ViT-H-14")(prompt)[0].tolist() if token]
    first, second = build_clip_tokenizers()
    for tokenizer, padding in ((first, 49407), (second, 0)):
        row = tokenizer(prompt, padding="max_length", max_length=77, truncation=True).input_ids
        assert row[: len(expected)] == expected
        assert set(row[len(expected) :]) <= {padding}


def test_the_shipped_configuration_is_sdxl_base() -> None:
    """The parameter counts of the published model."""
    with torch.device("meta"):
        modules = {
            "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(SHIPPED_CONFIG / "unet")),
            "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(SHIPPED_CONFIG / "vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(SHIPPED_CONFIG / "text_encoder")),
            "text_encoder_2": CLIPTextModelWithProjection(
                CLIPTextConfig.from_pretrained(SHIPPED_CONFIG / "text_encoder_2")
            ),
        }
    counts = {name: sum(weight.numel() for weight in module.parameters()) for name, module in modules.items()}
    assert counts == {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    }


def load_plain(path: Path, dtype: torch.dtype) -> Any:
    return load_single_file(path, dtype, pickle_allowed=False, scratch_folder="").pipeline


def test_a_single_file_needs_no_tokenizers_of_its_own(tiny_models: Any, tmp_path: Path) -> None:
    """As a real one: the configuration beside it has no tokenizers, so open_clip's vocabulary is used."""
    shutil.copy(tiny_models.single_file, tmp_path / "bare.safetensors")
    for part in ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler"):
        shutil.copytree(tiny_models.single_file_config / part, tmp_path / "bare.config" / part)
    shutil.copy(tiny_models.single_file_config / "model_index.json", tmp_path / "bare.config")
    pipeline = load_plain(tmp_path / "bare.safetensors", torch.float32)
    assert len(pipeline.tokenizer) == len(pipeline.tokenizer_2) == 49408
    assert (pipeline.tokenizer.pad_token, pipeline.tokenizer_2.pad_token) == ("<|endoftext|>", "!")


def test_every_weight_of_a_single_file_is_the_folders(tiny_models: Any) -> None:
    pipeline = load_plain(tiny_models.single_file, torch.float16)
    for part in ("unet", "vae"):
        expected = load_file(tiny_models.sdxl / part / "diffusion_pytorch_model.safetensors")
        found = getattr(pipeline, part).state_dict()
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("marks", "metadata", "expected"),
    [
        ([], {}, ("epsilon", False)),
        (["v_pred"], {}, ("v_prediction", False)),
        (["v_pred", "ztsnr"], {}, ("v_prediction", True)),
        ([], {"modelspec.prediction_type": "v"}, ("v_prediction", False)),
    ],
)
def test_v_prediction_is_seen_in_the_file(
    fresh_studio: Any, tmp_path: Path, marks: list[str], metadata: dict[str, str], expected: tuple[str, bool]
) -> None:
    path = tmp_path / "model.safetensors"
    weights = load_file(fresh_studio.models.single_file)
    save_file(weights | {mark: torch.zeros(0) for mark in marks}, path, metadata)
    shutil.copytree(fresh_studio.models.single_file_config, tmp_path / "model.config")
    fresh_studio(checkpoint=path, steps=1)
    noise = fresh_studio.resident().trained_noise
    assert (noise.prediction_type, noise.zero_terminal_snr) == expected


def altered(models: Any, path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """The single file with other tensors in it, and its configuration beside it."""
    weights = load_file(models.single_file)
    change(weights)
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    shutil.copytree(models.single_file_config, path.with_suffix(".config"))
    return path


def adding(marks: dict[str, torch.Tensor]) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda weights: weights.update(marks)


def test_v_prediction_is_seen_in_a_pickle(fresh_studio: Any, tmp_path: Path) -> None:
    fresh_studio.session.settings = replace(fresh_studio.session.settings, pickle_checkpoints=True)
    mark = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    fresh_studio(checkpoint=altered(fresh_studio.models, tmp_path / "m.ckpt", adding(mark)), steps=1)
    noise = fresh_studio.resident().trained_noise
    assert (noise.prediction_type, noise.zero_terminal_snr) == ("v_prediction", True)


def test_edm_models_are_seen_in_the_file(fresh_studio: Any, tmp_path: Path) -> None:
    cosxl = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}
    playground = {"edm_mean": torch.full((1, 4, 1, 1), 0.5), "edm_std": torch.full((1, 4, 1, 1), 2.0)}
    found: list[Any] = []
    for name, marks in (("cosxl", cosxl), ("playground", playground)):
        path = altered(fresh_studio.models, tmp_path / f"{name}.safetensors", adding(marks))
        fresh_studio(checkpoint=path, steps=2)
        found.append(fresh_studio.resident(len(found)))
    assert [model.trained_noise.prediction_type for model in found] == ["v_prediction", "epsilon"]
    assert [model.levels.sigma_max for model in found] == pytest.approx([120.0, 80.0])
    assert [model.levels.sigma_data for model in found] == [1.0, 0.5]
    vae = found[1].pipeline.vae.config
    assert (vae.latents_mean, vae.latents_std, vae.scaling_factor) == ([0.5] * 4, [2.0] * 4, 0.5)


SCALED_FORMS: dict[str, tuple[str, dict[str, torch.Tensor]]] = {
    "first form": ("scale_weight", {"model.diffusion_model.scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}),
    "by layer": ("weight_scale", {"model.diffusion_model.out.2.input_scale": torch.tensor(1.0)}),
}


@pytest.mark.parametrize("form", SCALED_FORMS)
def test_scaled_fp8_weights_are_multiplied_by_their_scales(
    fresh_studio: Any, look: Any, tmp_path: Path, form: str
) -> None:
    """The same values once as ComfyUI's scaled fp8 and once multiplied out."""
    suffix, marks = SCALED_FORMS[form]
    scale = 0.03

    def scaled(weights: dict[str, torch.Tensor]) -> None:
        for name in [key for key in weights if key.endswith("attn1.to_q.weight")]:
            weights[name] = (weights[name].float() / scale).to(torch.float8_e4m3fn)
            weights[name.removesuffix("weight") + suffix] = torch.tensor(scale)
        weights.update(marks)

    def plain(weights: dict[str, torch.Tensor]) -> None:
        for name in [key for key in weights if key.endswith("attn1.to_q.weight")]:
            weights[name] = (weights[name].float() / scale).to(torch.float8_e4m3fn).float() * scale

    made = [
        look(fresh_studio(checkpoint=altered(fresh_studio.models, tmp_path / f"{change.__name__}.safetensors", change)))
        for change in (scaled, plain)
    ]
    assert (made[0] == made[1]).all()
    left = {path.name for path in Path(fresh_studio.session.settings.cache_folder).iterdir()}
    assert left == {
        "model-hashes.json",
        *(f"{name}.{end}" for name in ("scaled", "plain") for end in ("safetensors", "config")),
    }


def test_fp8_in_blocks_is_refused(studio: Any, tmp_path: Path) -> None:
    def in_blocks(weights: dict[str, torch.Tensor]) -> None:
        name = next(key for key in weights if key.endswith("attn1.to_q.weight"))
        weights[name] = weights[name].to(torch.float8_e4m3fn)
        weights[name.removesuffix("weight") + "weight_scale"] = torch.ones(2, 2)

    with pytest.raises(RenderFailed, match=r"blocks\.safetensors is quantized in blocks \(.*to_q\.weight\)"):
        studio(checkpoint=altered(studio.models, tmp_path / "blocks.safetensors", in_blocks))


def test_a_file_without_vae_needs_one_by_name(fresh_studio: Any, look: Any, tmp_path: Path) -> None:
    def without_vae(weights: dict[str, torch.Tensor]) -> None:
        for name in [key for key in weights if key.startswith("first_stage_model.")]:
            del weights[name]

    path = altered(fresh_studio.models, tmp_path / "bare.safetensors", without_vae)
    with pytest.raises(RenderFailed, match=r"checkpoint bare\.safetensors has no VAE; name one with `vae:`"):
        fresh_studio(checkpoint=path)
    files = {FileKey("vae", "own"): fresh_studio.models.sdxl / "vae" / "diffusion_pytorch_model.safetensors"}
    made = fresh_studio.render(fresh_studio.recipe(vae={"name": "own"}), files, path)
    assert (look(made) == look(fresh_studio())).all()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.diffusion_model.out.2.bias", None, "is incomplete: it has no tensor conv_out.bias of its UNet2D"),
        (
            "model.diffusion_model.time_embed.0.weight",
            None,
            "is incomplete: it has no tensor time_embedding.linear_1.weight of its UNet2D",
        ),
        ("first_stage_model.decoder.conv_out.bias", None, "has no tensor decoder.conv_out.bias of its AutoencoderKL"),
        (
            "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
            None,
            "is incomplete: text_encoder has no final_layer_norm.bias; copy the file again",
        ),
        ("model.diffusion_model.out.2.bias", float("nan"), "is damaged: unet has values that are no numbers"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_one_sentence(
    studio: Any, tmp_path: Path, key: str, value: float | None, words: str
) -> None:
    def break_one(weights: dict[str, torch.Tensor]) -> None:
        if value is None:
            del weights[key]
        else:
            weights[key].fill_(value)

    with pytest.raises(RenderFailed, match=words) as refusal:
        studio(checkpoint=altered(studio.models, tmp_path / "model.safetensors", break_one))
    assert "\n" not in str(refusal.value)


def test_a_gguf_file_is_named_in_its_refusal(studio: Any, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(RenderFailed, match=r"model\.gguf is a GGUF file"):
        studio(checkpoint=tmp_path / "model.gguf")


def test_a_folder_of_stable_diffusion_1_is_named(studio: Any, tmp_path: Path) -> None:
    folder = tmp_path / "sd15"
    shutil.copytree(studio.models.sdxl, folder)
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index |= {"text_encoder_2": [None, None], "tokenizer_2": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(RenderFailed, match="checkpoint sd15 is no SDXL model: it has no text_encoder_2"):
        studio(checkpoint=folder)


def test_a_folder_in_half_precision_only_is_loaded(fresh_studio: Any, tmp_path: Path, look: Any) -> None:
    folder = tmp_path / "half"
    shutil.copytree(fresh_studio.models.sdxl, folder)
    for file in [*folder.glob("*/*.safetensors")]:
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    assert (look(fresh_studio(checkpoint=folder)) == look(fresh_studio())).all()


def _rename(file: Path, name: str) -> None:
    file.rename(file.with_name(name))


def test_a_folder_whose_modules_have_different_variants_is_loaded(fresh_studio: Any, tmp_path: Path, look: Any) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(fresh_studio.models.sdxl, folder)
    _rename(folder / "unet" / "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bf16.safetensors")
    _rename(folder / "text_encoder" / "model.safetensors", "model.fp16.safetensors")
    _rename(folder / "vae" / "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.own.safetensors")
    assert (look(fresh_studio(checkpoint=folder)) == look(fresh_studio())).all()


def test_a_replaced_file_is_loaded_again(fresh_studio: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    shutil.copy(fresh_studio.models.single_file, path)
    shutil.copytree(fresh_studio.models.single_file_config, tmp_path / "model.config")
    first = fresh_studio(checkpoint=path)
    weights = load_file(path)
    weights["model.diffusion_model.out.2.bias"] += 1
    save_file(weights, path)
    second = fresh_studio(checkpoint=path)
    assert recipe_data(first)["model"]["hash"] != recipe_data(second)["model"]["hash"]
    assert first.encoded != second.encoded


def test_no_checkpoint_at_the_path_is_a_model_that_is_off(studio: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnavailable, match=r"generator is off, because .*is no checkpoint file and no diffusers folder"
    ):
        studio(checkpoint=tmp_path / "gone.safetensors")


def _half_a_file(path: Path, models: Any) -> None:
    path.write_bytes(models.single_file.read_bytes()[:100_000])


def _a_lora(path: Path, models: Any) -> None:
    shutil.copy(models.lora, path)


def _an_edit_model(path: Path, models: Any) -> None:
    weights = load_file(models.single_file)
    weights["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(16, 8, 3, 3)
    save_file(weights, path)


def _another_size(path: Path, models: Any) -> None:
    shutil.copy(models.single_file, path)  # without a configuration beside it, so SDXL's is used


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_half_a_file, "is cut off: .* copy the file again"),
        (_a_lora, "is a LoRA.*, not a checkpoint; name it under `loras:`"),
        (_an_edit_model, "takes 8 input channels"),
        (_another_size, "cannot be loaded"),
    ],
)
def test_files_that_are_no_sdxl_checkpoint_are_refused(studio: Any, tmp_path: Path, write: Any, words: str) -> None:
    path = tmp_path / "model.safetensors"
    write(path, studio.models)
    with pytest.raises(RenderFailed, match=words) as refusal:
        studio(checkpoint=path)
    assert "\n" not in str(refusal.value)


def test_a_pickle_is_refused_unless_it_is_allowed(studio: Any, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(RenderFailed, match=r"model\.ckpt .* can carry code"):
        studio(checkpoint=tmp_path / "model.ckpt")


def test_a_folder_that_is_no_pipeline_is_refused(studio: Any, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}), "utf-8")
    with pytest.raises(RenderFailed, match="cannot be loaded"):
        studio(checkpoint=tmp_path)


def test_fp8_stores_eight_bits_and_is_part_of_the_recipe(fresh_studio: Any, look: Any) -> None:
    """The layers in eight bits and the norms in bfloat16; the same image again, LoRAs in between included."""
    fresh_studio.session.dtype = "fp8"
    first = fresh_studio(files={"tiny": str(fresh_studio.models.lora)}, loras=[{"name": "tiny", "weight": 0.5}])
    assert recipe_data(first)["dtype"] == "fp8"
    unet = fresh_studio.resident().pipeline.unet
    linear = unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2").weight
    assert (linear.dtype, unet.dtype) == (torch.float8_e4m3fn, torch.bfloat16)
    assert unet.get_submodule("conv_norm_out").weight.dtype == torch.bfloat16
    plain = fresh_studio()
    again = fresh_studio(files={"tiny": str(fresh_studio.models.lora)}, loras=[{"name": "tiny", "weight": 0.5}])
    assert again.encoded == first.encoded
    assert plain.encoded != first.encoded
    assert fresh_studio().encoded == plain.encoded
    replayed = fresh_studio.render(Recipe.model_validate(recipe_data(plain)))
    assert (look(replayed) == look(plain)).all()
