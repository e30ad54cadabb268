"""LoRAs: kohya's files and diffusers', several at once, and a base that comes back bit for bit."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

import indexd.generate.adapters.lora_adapters as loras_module
from indexd.errors import RenderFailed
from indexd.generate.adapters.lora_adapters import LoraAdapters, LoraRequest
from indexd.generate.adapters.lora_file import lora_content_hash, read_lora
from indexd.generate.sdxl.lora_targets import find_lora_targets, original_unet_name
from indexd_toyworld.original_layout import ldm_unet_name
from tests.models.generate.conftest import recipe_data

Weights = dict[str, torch.Tensor]


@pytest.fixture
def pipeline(tiny_models: Any) -> Any:
    made = StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)
    made.set_progress_bar_config(disable=True)
    return made


def noise_guess(pipeline: Any) -> torch.Tensor:
    """One UNet answer and both text encoders' in one vector: everything a LoRA can change."""
    chance = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=chance)

    ids = torch.arange(77)[None]
    with torch.no_grad():
        one = pipeline.text_encoder(ids).last_hidden_state
        two = pipeline.text_encoder_2(ids).text_embeds
        width = pipeline.unet.config.cross_attention_dim
        added = {"text_embeds": draw(1, two.shape[-1]), "time_ids": torch.full((1, 6), 64.0)}
        three = pipeline.unet(draw(1, 4, 8, 8), 500, draw(1, 77, width), added_cond_kwargs=added).sample
    return torch.cat([one.flatten(), two.flatten(), three.flatten()])


def merged(pipeline: Any, file: Path, weight: float, text_weight: float) -> None:
    """Write W + weight * alpha / rank * up @ down into the modules: the definition, done by hand."""
    weights = load_file(file)
    table = find_lora_targets(pipeline)
    for key in [name for name in weights if name.endswith(".lora_down.weight")]:
        stem = key.removesuffix(".lora_down.weight")
        down, up = weights[key].float(), weights[f"{stem}.lora_up.weight"].float()
        scale = float(weights[f"{stem}.alpha"]) / down.shape[0]
        target = table[stem]
        module = getattr(pipeline, target.component).get_submodule(target.module)
        with torch.no_grad():
            factor = weight if target.component == "unet" else text_weight
            module.weight += factor * scale * (up @ down)


def variant(tiny_models: Any, folder: Path, name: str, change: Any) -> Path:
    """A copy of the tiny LoRA with its weights changed."""
    weights: Weights = load_file(tiny_models.lora)
    path = folder / f"{name}.safetensors"
    save_file({key: weight.contiguous() for key, weight in change(weights).items()}, path)
    return path


def test_a_lora_is_its_definition(pipeline: Any, tiny_models: Any) -> None:
    base = noise_guess(pipeline)
    shelf = LoraAdapters(pipeline)
    shelf.activate([LoraRequest("tiny", tiny_models.lora, 0.8, 0.3)])
    ours = noise_guess(pipeline)
    shelf.activate([])
    by_hand = StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)
    merged(by_hand, tiny_models.lora, 0.8, 0.3)
    assert not torch.allclose(ours, base, atol=1e-3)
    # What the LoRA changes is up to 7; the rest is rounding.
    assert torch.allclose(ours, noise_guess(by_hand), atol=2e-3)


def test_the_base_comes_back_bit_for_bit(pipeline: Any, tiny_models: Any) -> None:
    base = noise_guess(pipeline)
    before = {name: weight.clone() for name, weight in pipeline.unet.state_dict().items()}
    shelf = LoraAdapters(pipeline)
    shelf.activate([LoraRequest("tiny", tiny_models.lora, 1.0)])
    shelf.activate([])
    assert torch.equal(noise_guess(pipeline), base)
    after = {name.replace(".base_layer", ""): weight for name, weight in pipeline.unet.state_dict().items()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_weight_zero_is_the_base(pipeline: Any, tiny_models: Any) -> None:
    base = noise_guess(pipeline)
    shelf = LoraAdapters(pipeline)
    shelf.activate([LoraRequest("tiny", tiny_models.lora, 0.0)])
    assert torch.equal(noise_guess(pipeline), base)
    assert shelf.active_text_weights() == ()


def test_several_at_once_add_up(pipeline: Any, tiny_models: Any, tmp_path: Path) -> None:
    other = variant(
        tiny_models, tmp_path, "other", lambda found: {k: v.flip(0) if v.ndim else v for k, v in found.items()}
    )
    shelf = LoraAdapters(pipeline)
    shelf.activate([LoraRequest("tiny", tiny_models.lora, 0.5), LoraRequest("other", other, -0.4)])
    ours = noise_guess(pipeline)
    by_hand = StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)
    merged(by_hand, tiny_models.lora, 0.5, 0.5)
    merged(by_hand, other, -0.4, -0.4)
    assert torch.allclose(ours, noise_guess(by_hand), atol=2e-4)


def test_switching_needs_no_second_read(pipeline: Any, tiny_models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def counted(path: Path, *more: Any) -> Any:
        reads.append(path)
        return read_lora(path, *more)

    monkeypatch.setattr(loras_module, "read_lora", counted)
    shelf = LoraAdapters(pipeline)
    answers = []
    for weight in (0.5, 0.0, 0.5, 1.0):
        shelf.activate([LoraRequest("tiny", tiny_models.lora, weight)])
        answers.append(noise_guess(pipeline))
    assert len(reads) == 1
    assert torch.equal(answers[0], answers[2])
    assert not torch.equal(answers[0], answers[3])


def test_files_in_both_spellings_and_in_diffusers_form_are_the_same(
    pipeline: Any, tiny_models: Any, tmp_path: Path
) -> None:
    table = find_lora_targets(pipeline)

    def kohya_with_diffusers_names(found: Weights) -> Weights:
        made = {}
        for key, weight in found.items():
            stem, _, ending = key.partition(".")
            prefix = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
            target = table[stem]
            made[prefix[target.component] + target.module.replace(".", "_") + "." + ending] = weight
        return made

    def peft_names(found: Weights) -> Weights:
        made = {}
        for key, weight in found.items():
            stem, _, ending = key.partition(".")
            target = table[stem]
            if ending != "alpha":  # alpha is the rank here, which is what a file without one means
                part = "lora_A" if "down" in ending else "lora_B"
                made[f"{target.component}.{target.module}.{part}.weight"] = weight
        return made

    files = [tiny_models.lora]
    files.append(variant(tiny_models, tmp_path, "kohya", kohya_with_diffusers_names))
    files.append(variant(tiny_models, tmp_path, "peft", peft_names))
    read = [read_lora(file, file.stem, table).matrices for file in files]
    assert set(read[0]) == set(read[1]) == set(read[2])
    for target, pair in read[0].items():
        for other in read[1:]:
            assert torch.equal(pair.down, other[target].down)
            assert torch.equal(pair.up, other[target].up)


def test_what_the_library_saves_is_read(pipeline: Any, tmp_path: Path) -> None:
    """A file from `save_lora_weights`, with an alpha that only its header states."""
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    shape = pipeline.unet.get_submodule(name).weight.shape
    down, up = torch.randn(2, shape[1]), torch.randn(shape[0], 2)
    StableDiffusionXLPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers={f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up},
        unet_lora_adapter_metadata={"r": 2, "lora_alpha": 1},
    )
    [(target, pair)] = read_lora(
        tmp_path / "pytorch_lora_weights.safetensors", "saved", find_lora_targets(pipeline)
    ).matrices.items()
    assert (target.component, target.module) == ("unet", name)
    assert torch.equal(pair.up, up * 0.5)


def test_the_oldest_names_are_read(pipeline: Any, tmp_path: Path) -> None:
    stem = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    shape = pipeline.unet.get_submodule(f"{stem.removeprefix('unet.')}.to_q").weight.shape
    text = pipeline.text_encoder_2.text_model.encoder.layers[0].self_attn.out_proj.weight.shape
    weights = {
        f"{stem}.processor.to_q_lora.down.weight": torch.randn(2, shape[1]),
        f"{stem}.processor.to_q_lora.up.weight": torch.randn(shape[0], 2),
        "text_encoder_2.text_model.encoder.layers.0.self_attn.to_out_lora.down.weight": torch.randn(2, text[1]),
        "text_encoder_2.text_model.encoder.layers.0.self_attn.to_out_lora.up.weight": torch.randn(text[0], 2),
    }
    save_file(weights, tmp_path / "old.safetensors")
    found = {
        target.module for target in read_lora(tmp_path / "old.safetensors", "old", find_lora_targets(pipeline)).matrices
    }
    assert found == {f"{stem.removeprefix('unet.')}.to_q", "text_model.encoder.layers.0.self_attn.out_proj"}


def test_convolutions_and_mixed_ranks_are_applied(pipeline: Any, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(3)
    resnet = pipeline.unet.down_blocks[0].resnets[0].conv1.weight
    weights = {
        "lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight": torch.randn(1, *resnet.shape[1:], generator=rng),
        "lora_unet_input_blocks_1_0_in_layers_2.lora_up.weight": torch.randn(resnet.shape[0], 1, 1, 1, generator=rng),
        "lora_unet_time_embed_0.lora_down.weight": torch.randn(4, 16, generator=rng),
        "lora_unet_time_embed_0.lora_up.weight": torch.randn(64, 4, generator=rng),
        "lora_unet_time_embed_0.alpha": torch.tensor(2.0),
    }
    save_file(weights, tmp_path / "locon.safetensors")
    expected = StableDiffusionXLPipeline.from_pretrained(pipeline.config._name_or_path, dtype=torch.float32)
    with torch.no_grad():
        up, down = weights[next(k for k in weights if "layers_2.lora_up" in k)], next(iter(weights.values()))
        expected.unet.down_blocks[0].resnets[0].conv1.weight += torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)
        expected.unet.time_embedding.linear_1.weight += 0.5 * (
            weights["lora_unet_time_embed_0.lora_up.weight"] @ weights["lora_unet_time_embed_0.lora_down.weight"]
        )
    LoraAdapters(pipeline).activate([LoraRequest("locon", tmp_path / "locon.safetensors", 1.0)])
    assert torch.allclose(noise_guess(pipeline), noise_guess(expected), atol=2e-4)


def test_original_names_are_the_inverse_of_the_single_file_layout(pipeline: Any) -> None:
    """Against the names that the demo writes single-file checkpoints with, which diffusers reads back."""
    attention = frozenset({0, 1})
    checked = 0
    for name, module in pipeline.unet.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            assert f"{original_unet_name(name, 2)}.weight" == ldm_unet_name(f"{name}.weight", 2, attention)
            checked += 1
    assert checked > 250


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {k.replace("lora_down", "oft_diag"): v for k, v in found.items()}, "is an old form of OFT"),
        (lambda _found: {"lora_unet_time_embed_0.hada_w1_a": torch.ones(64, 2)}, "only half"),
        (lambda _found: {"lora_unet_time_embed_0.lokr_w1": torch.ones(2, 2)}, "only half"),
        (
            lambda _found: {
                "lora_unet_time_embed_0.lokr_w1": torch.ones(2, 2),
                "lora_unet_time_embed_0.lokr_w2": torch.ones(3, 3),
            },
            "does not fit this model",
        ),
        (lambda found: {k + "x": v for k, v in found.items()}, "no LoRA weight"),
        (lambda found: {k: v for k, v in found.items() if "lora_up" not in k}, "only half"),
        (lambda found: {k: v[..., :-1] if v.ndim == 2 else v for k, v in found.items()}, "does not fit this model"),
        (lambda _found: {"lora_unet_out_2.dora_scale": torch.ones(1)}, "only half"),
        (lambda _found: {"lora_unet_out_2.oft_blocks": torch.ones(1)}, "does not fit this model"),
        (lambda found: {k: v * float("nan") if "lora_up" in k else v for k, v in found.items()}, "is damaged"),
        (
            lambda _found: {
                "lora_unet_time_embed_0.lora_down.weight": torch.ones(0, 16),
                "lora_unet_time_embed_0.lora_up.weight": torch.ones(64, 0),
            },
            "has rank 0",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_nothing_is_active(
    pipeline: Any, tiny_models: Any, tmp_path: Path, change: Any, words: str
) -> None:
    base = noise_guess(pipeline)
    broken = variant(tiny_models, tmp_path, "broken", change)
    shelf = LoraAdapters(pipeline)
    shelf.activate([LoraRequest("tiny", tiny_models.lora, 1.0)])
    with pytest.raises(RenderFailed, match=words):
        shelf.activate([LoraRequest("tiny", tiny_models.lora, 1.0), LoraRequest("broken", broken, 1.0)])
    assert torch.equal(noise_guess(pipeline), base)


@pytest.mark.parametrize("name", ["gone.safetensors", "pickle.pt", "noise.safetensors"])
def test_an_unreadable_file_is_one_sentence(pipeline: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "pickle.pt").write_bytes(b"\x80\x04")
    (tmp_path / "noise.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(RenderFailed, match="LoRA x"):
        LoraAdapters(pipeline).activate([LoraRequest("x", tmp_path / name, 1.0)])


def test_the_shelf_is_bounded(pipeline: Any, tiny_models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loras_module, "RESIDENT_BYTES", 0)
    other = variant(tiny_models, tmp_path, "other", lambda found: {k: v * 2 for k, v in found.items()})
    base = noise_guess(pipeline)
    shelf = LoraAdapters(pipeline)
    answers: dict[str, torch.Tensor] = {}
    for name, file in (("tiny", tiny_models.lora), ("other", other), ("tiny", tiny_models.lora)):
        shelf.activate([LoraRequest(name, file, 1.0)])
        assert len(shelf._resident) == 1
        answers.setdefault(name, noise_guess(pipeline))
        assert torch.equal(noise_guess(pipeline), answers[name])
    shelf.activate([])
    assert torch.equal(noise_guess(pipeline), base)


def test_the_hash_covers_the_weights_and_not_the_header(tiny_models: Any, tmp_path: Path) -> None:
    weights = load_file(tiny_models.lora)
    save_file(weights, tmp_path / "titled.safetensors", metadata={"title": "another header"})
    assert lora_content_hash(tmp_path / "titled.safetensors") == lora_content_hash(tiny_models.lora)
    data = tiny_models.lora.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert lora_content_hash(tiny_models.lora) == hashlib.sha256(data[8 + length :]).hexdigest()[:12]
    json.loads(data[8 : 8 + length])


def test_a_render_with_loras_leaves_no_trace(studio: Any, look: Any) -> None:
    base = studio()
    files = {"tiny-lora": str(studio.models.lora)}
    made = studio(files=files, loras=[{"name": "tiny-lora", "weight": 0.7}])
    assert not np.array_equal(look(made), look(base))
    assert recipe_data(made)["loras"][0]["hash"] == lora_content_hash(studio.models.lora)
    assert studio().encoded == base.encoded
    assert studio(files=files, **recipe_data(made)).encoded == made.encoded


def test_text_weight_alone_changes_the_picture(studio: Any, look: Any) -> None:
    files = {"tiny-lora": str(studio.models.lora)}
    pictures = [
        look(studio(files=files, loras=[{"name": "tiny-lora", "weight": 0.5, "text_weight": weight}]))
        for weight in (None, 0.5, 0.0, 2.0)
    ]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[2], pictures[3])


def test_a_lora_with_another_hash_is_refused(studio: Any) -> None:
    with pytest.raises(RenderFailed, match="LoRA tiny-lora is not the file"):
        studio(files={"tiny-lora": str(studio.models.lora)}, loras=[{"name": "tiny-lora", "hash": "0" * 12}])
