"""LoRA files as other programs write them: each compared with weights changed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from peft import OFTConfig, get_peft_model
from safetensors.torch import save_file

from indexd.errors import RenderFailed
from indexd.generate.adapters.lora_adapters import LoraAdapters, LoraRequest
from indexd.generate.sdxl.lora_targets import original_unet_name

QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "down_blocks.1.resnets.0.conv1"
NORM = "down_blocks.1.attentions.0.norm"
WEIGHT, ALPHA, RANK = 0.7, 2.0, 4
LAYERS_PER_BLOCK = 2

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def pipeline(tiny_models: Any) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.2


def flat(module: str) -> str:
    return "lora_unet_" + module.replace(".", "_")


def guess(unet: Any) -> torch.Tensor:
    """One answer of the UNet."""
    pooled = unet.add_embedding.linear_1.in_features - 6 * unet.config.addition_time_embed_dim
    added = {"text_embeds": draw(1, pooled), "time_ids": draw(1, 6)}
    with torch.no_grad():
        answer: torch.Tensor = unet(
            draw(1, 4, 8, 8), 500, draw(1, 77, unet.config.cross_attention_dim), added_cond_kwargs=added
        ).sample
    return answer


def pair_of(pipeline: Any, module: str) -> tuple[torch.Tensor, torch.Tensor]:
    shape = pipeline.unet.get_submodule(module).weight.shape
    return draw(RANK, *shape[1:]), draw(shape[0], RANK, *([1] * (len(shape) - 2)))


def product(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:])


def check(
    pipeline: Any,
    folder: Path,
    tensors: Tensors,
    by_hand: Mapping[str, torch.Tensor],
    metadata: dict[str, str] | None = None,
) -> tuple[str, ...]:
    """The file at WEIGHT does what adding WEIGHT * `by_hand` to the parameters does; switched off, the base is back exactly."""
    save_file({key: weight.contiguous() for key, weight in tensors.items()}, folder / "x.safetensors", metadata)
    base = guess(pipeline.unet)
    loras = LoraAdapters(pipeline)
    active = loras.activate([LoraRequest("x", folder / "x.safetensors", WEIGHT)])
    ours = guess(pipeline.unet)
    loras.activate([])
    assert torch.equal(guess(pipeline.unet), base)
    with torch.no_grad():
        for name, difference in by_hand.items():
            module, _, parameter = name.rpartition(".")
            layer = pipeline.unet.get_submodule(module)
            layer = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
            current = getattr(layer, parameter)
            total = WEIGHT * difference + (0 if current is None else current)
            setattr(layer, parameter, torch.nn.Parameter(total, requires_grad=False))
    assert not torch.allclose(ours, base, atol=1e-4)
    assert torch.allclose(ours, guess(pipeline.unet), atol=1e-4)
    return active.notes


def diffusers_names(prefix: str, suffix: str = "") -> Callable[[str, str], str]:
    letters = {"down": "A", "up": "B"}
    return lambda module, part: f"{prefix}{module}.lora_{letters[part]}{suffix}.weight"


def comfy_names(module: str, part: str) -> str:
    return f"diffusion_model.{original_unet_name(module, LAYERS_PER_BLOCK)}.lora_{part}.weight"


NAMES: dict[str, Callable[[str, str], str]] = {
    "bare diffusers": diffusers_names(""),
    "peft": diffusers_names("base_model.model."),
    "peft with adapter name": diffusers_names("base_model.model.", ".default"),
    "peft of a pipeline": diffusers_names("base_model.model.unet."),
    "ComfyUI": comfy_names,
    "LyCORIS": lambda module, part: f"lycoris_{module.replace('.', '_')}.lora_{part}.weight",
}


@pytest.mark.parametrize("form", NAMES)
def test_names_of_other_programs_are_read(pipeline: Any, tmp_path: Path, form: str) -> None:
    down, up = pair_of(pipeline, QUERY)
    tensors = {NAMES[form](QUERY, "down"): down, NAMES[form](QUERY, "up"): up}
    assert check(pipeline, tmp_path, tensors, {f"{QUERY}.weight": product(down, up)}) == ()


@pytest.mark.parametrize(("module", "axis"), [(QUERY, 0), (CONVOLUTION, 0), (CONVOLUTION, 1)])
def test_dora_scales_the_norm_of_each_output_or_input(pipeline: Any, tmp_path: Path, module: str, axis: int) -> None:
    down, up = pair_of(pipeline, module)
    weight = pipeline.unet.get_submodule(module).weight.detach().clone()
    others = [place for place in range(weight.ndim) if place != axis]
    merged = weight + ALPHA / RANK * product(down, up)
    magnitude = 1 + draw(*(side if place == axis else 1 for place, side in enumerate(weight.shape))).abs()
    expected = merged * magnitude / merged.pow(2).sum(dim=others, keepdim=True).sqrt() - weight
    stem = flat(module)
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(ALPHA)}
    check(pipeline, tmp_path, tensors | {f"{stem}.dora_scale": magnitude}, {f"{module}.weight": expected})


@pytest.mark.parametrize("module", [QUERY, CONVOLUTION])
def test_a_full_difference_is_added(pipeline: Any, tmp_path: Path, module: str) -> None:
    difference = draw(*pipeline.unet.get_submodule(module).weight.shape)
    check(pipeline, tmp_path, {f"{flat(module)}.diff": difference}, {f"{module}.weight": difference})


def test_biases_and_norms_are_added_and_taken_back(pipeline: Any, tmp_path: Path) -> None:
    size = pipeline.unet.get_submodule(NORM).weight.shape[0]
    bias = pipeline.unet.get_submodule(CONVOLUTION).bias.shape[0]
    tensors = {f"{flat(NORM)}.w_norm": draw(size), f"{flat(NORM)}.b_norm": draw(size) + 0.1}
    tensors[f"{flat(CONVOLUTION)}.diff_b"] = draw(bias)
    by_hand = {f"{NORM}.weight": draw(size), f"{NORM}.bias": draw(size) + 0.1, f"{CONVOLUTION}.bias": draw(bias)}
    check(pipeline, tmp_path, tensors, by_hand)


def test_a_bias_of_peft_is_scaled_and_needs_no_bias_in_the_layer(pipeline: Any, tmp_path: Path) -> None:
    down, up = pair_of(pipeline, QUERY)
    bias = draw(up.shape[0])
    assert pipeline.unet.get_submodule(QUERY).bias is None
    tensors = {
        f"unet.{QUERY}.lora_A.weight": down,
        f"unet.{QUERY}.lora_B.weight": up,
        f"unet.{QUERY}.lora_B.bias": bias,
    }
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": ALPHA, "unet.r": RANK})}
    scale = ALPHA / RANK
    by_hand = {f"{QUERY}.weight": scale * product(down, up), f"{QUERY}.bias": scale * bias}
    check(pipeline, tmp_path, tensors, by_hand, metadata)


HEADERS: dict[str, tuple[dict[str, Any], float]] = {
    "alpha": ({"unet.lora_alpha": 8}, 8 / RANK),
    "rank-stabilised": ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 8 / RANK**0.5),
    "a pattern": ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 2}}, 2 / RANK),
    "a pattern of others": ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_k": 2}}, 8 / RANK),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_scales_in_the_header_of_diffusers_count(pipeline: Any, tmp_path: Path, kind: str) -> None:
    stated, scale = HEADERS[kind]
    down, up = pair_of(pipeline, QUERY)
    tensors = {f"unet.{QUERY}.lora_A.weight": down, f"unet.{QUERY}.lora_B.weight": up}
    metadata = {"lora_adapter_metadata": json.dumps(stated)}
    check(pipeline, tmp_path, tensors, {f"{QUERY}.weight": scale * product(down, up)}, metadata)


def rotation_by_hand(skew: torch.Tensor) -> torch.Tensor:
    """(I + Q) (I - Q)^-1 of one block."""
    unit = torch.eye(len(skew))
    return (unit + skew) @ torch.linalg.inv(unit - skew)


@pytest.mark.parametrize("module", [QUERY, CONVOLUTION])
@pytest.mark.parametrize("bound", [None, 1e-4])
def test_oft_of_kohya_turns_outputs(pipeline: Any, tmp_path: Path, module: str, bound: float | None) -> None:
    weight = pipeline.unet.get_submodule(module).weight.detach().clone()
    count = 4
    blocks = draw(count, len(weight) // count, len(weight) // count)
    skew = blocks - blocks.transpose(1, 2)
    tensors = {f"{flat(module)}.oft_blocks": blocks}
    if bound is not None:
        tensors[f"{flat(module)}.alpha"] = torch.tensor(bound)
        skew = skew * (bound * len(weight) / skew.norm())
    turn = torch.block_diag(*(rotation_by_hand(block) for block in skew))
    expected = (turn.T @ weight.flatten(1)).view(weight.shape) - weight
    if bound is None:
        rescale = 1 + draw(len(weight), *[1] * (weight.ndim - 1))
        tensors[f"{flat(module)}.rescale"] = rescale
        expected = (expected + weight) * rescale - weight
    if bound is not None:
        assert expected.abs().max() < 0.1  # the bound counts
        tensors |= {f"{flat(QUERY)}.diff_b": draw(len(pipeline.unet.get_submodule(QUERY).weight))}
        check(
            pipeline,
            tmp_path,
            tensors,
            {f"{module}.weight": expected, f"{QUERY}.bias": tensors[f"{flat(QUERY)}.diff_b"]},
        )
    else:
        check(pipeline, tmp_path, tensors, {f"{module}.weight": expected})


@pytest.mark.parametrize("shared", [False, True])
def test_oft_of_peft_does_what_peft_does(pipeline: Any, tmp_path: Path, shared: bool) -> None:
    weight = pipeline.unet.get_submodule(QUERY).weight.detach().clone()
    size = 8
    config = OFTConfig(r=0, oft_block_size=size, block_share=shared, target_modules=["layer"], init_weights=False)
    holder = torch.nn.ModuleDict({"layer": torch.nn.Linear(weight.shape[1], len(weight), bias=False)})
    with torch.no_grad():
        holder["layer"].weight.copy_(weight)
    model: Any = get_peft_model(holder, config)
    layer = model.base_model.model["layer"]
    triangles = layer.oft_R["default"].weight.detach().clone()
    layer.merge()
    expected = layer.get_base_layer().weight.detach() - weight
    tensors = {f"base_model.model.unet.{QUERY}.oft_R.weight": triangles}
    check(pipeline, tmp_path, tensors, {f"{QUERY}.weight": expected})


@pytest.mark.parametrize("module", [QUERY, CONVOLUTION])
@pytest.mark.parametrize("reversed_pairs", [False, True])
def test_glora_adds_a_product_with_the_weight(pipeline: Any, tmp_path: Path, module: str, reversed_pairs: bool) -> None:
    weight = pipeline.unet.get_submodule(module).weight.detach().clone()
    out, into, places = len(weight), weight.shape[1], weight[0, 0].numel()
    a1, a2, b1, b2 = draw(RANK, into), draw(into, RANK) + 0.1, draw(RANK, into * places), draw(out, RANK) + 0.2
    changed = torch.einsum("oi...,ij->oj...", weight, a2 @ a1) + (b2 @ b1).view(weight.shape)
    pairs = (a2, a1, b2, b1) if reversed_pairs else (a1, a2, b1, b2)
    tensors = {f"{flat(module)}.{name}.weight": one for name, one in zip(("a1", "a2", "b1", "b2"), pairs, strict=True)}
    tensors[f"{flat(module)}.alpha"] = torch.tensor(ALPHA)
    check(pipeline, tmp_path, tensors, {f"{module}.weight": ALPHA / RANK * changed})


@pytest.mark.parametrize("on_input", [True, False])
def test_ia3_of_lycoris_scales_inputs_or_outputs(pipeline: Any, tmp_path: Path, on_input: bool) -> None:
    weight = pipeline.unet.get_submodule(CONVOLUTION).weight.detach().clone()
    factors = draw(1, weight.shape[1], 1, 1) if on_input else draw(len(weight))
    tensors = {f"{flat(CONVOLUTION)}.weight": factors, f"{flat(CONVOLUTION)}.on_input": torch.tensor(on_input)}
    expected = weight * (factors if on_input else factors.view(-1, 1, 1, 1))
    check(pipeline, tmp_path, tensors, {f"{CONVOLUTION}.weight": expected})


@pytest.mark.parametrize("feed_forward", [True, False])
def test_ia3_of_peft_scales_the_bias_of_outputs(pipeline: Any, tmp_path: Path, feed_forward: bool) -> None:
    module = "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2"
    layer = pipeline.unet.get_submodule(module)
    factors = 1 + (draw(1, layer.in_features) if feed_forward else draw(layer.out_features, 1))
    by_hand = {f"{module}.weight": layer.weight.detach() * (factors - 1)}
    if not feed_forward:
        by_hand[f"{module}.bias"] = layer.bias.detach() * (factors.flatten() - 1)
    check(pipeline, tmp_path, {f"base_model.model.unet.{module}.ia3_l": factors}, by_hand)


LOKR_PARTS: dict[str, tuple[tuple[str, ...], float]] = {
    "whole": (("w1", "w2"), 1.0),
    "inner product": (("w1", "w2_a", "w2_b"), ALPHA / RANK),
    "outer product": (("w1_a", "w1_b", "w2"), ALPHA / RANK),
    "both products": (("w1_a", "w1_b", "w2_a", "w2_b"), ALPHA / RANK),
}


@pytest.mark.parametrize("form", LOKR_PARTS)
def test_lokr_with_all_its_parts(pipeline: Any, tmp_path: Path, form: str) -> None:
    out, into = pipeline.unet.get_submodule(QUERY).weight.shape
    names, scale = LOKR_PARTS[form]
    shapes = {"w1": (2, 4), "w1_a": (2, RANK), "w1_b": (RANK, 4)}
    shapes |= {"w2": (out // 2, into // 4), "w2_a": (out // 2, RANK), "w2_b": (RANK, into // 4)}
    parts = {name: draw(*shapes[name]) for name in names}
    outer = parts["w1"] if "w1" in parts else parts["w1_a"] @ parts["w1_b"]
    inner = parts["w2"] if "w2" in parts else parts["w2_a"] @ parts["w2_b"]
    tensors = {f"{flat(QUERY)}.lokr_{name}": part for name, part in parts.items()}
    tensors[f"{flat(QUERY)}.alpha"] = torch.tensor(ALPHA)
    check(pipeline, tmp_path, tensors, {f"{QUERY}.weight": scale * torch.kron(outer, inner)})


@pytest.mark.parametrize(
    "tensors",
    [
        {"oft_blocks": draw(3, 5, 5)},
        {"oft_blocks": draw(2, 4, 8, 8)},
        {"oft_R.weight": draw(3, 6)},
        {"a1.weight": draw(4, 7), "a2.weight": draw(7, 4), "b1.weight": draw(4, 7), "b2.weight": draw(5, 4)},
        {"weight": draw(5), "on_input": torch.tensor(True)},
        {"ia3_l": draw(5, 1)},
    ],
)
def test_parts_that_do_not_fit_the_weight_are_one_sentence(pipeline: Any, tmp_path: Path, tensors: Tensors) -> None:
    save_file({f"{flat(QUERY)}.{name}": part for name, part in tensors.items()}, tmp_path / "x.safetensors")
    with pytest.raises(RenderFailed, match=r"LoRA x does not fit this model: lora_unet_down_blocks_1.* is .* here"):
        LoraAdapters(pipeline).activate([LoraRequest("x", tmp_path / "x.safetensors", 1.0)])


def test_a_module_of_another_shape_is_a_note_when_others_fit(pipeline: Any, tmp_path: Path) -> None:
    difference = draw(*pipeline.unet.get_submodule(QUERY).weight.shape)
    key = QUERY.replace("to_q", "to_k")
    tensors = {f"{flat(QUERY)}.diff": difference, f"{flat(key)}.diff": draw(3, 3), f"{flat(key)}.diff_b": draw(3)}
    save_file(tensors, tmp_path / "x.safetensors")
    before = pipeline.unet.get_submodule(key).weight.clone()
    adapters = LoraAdapters(pipeline)
    notes = adapters.activate([LoraRequest("x", tmp_path / "x.safetensors", 1.0)]).notes
    assert any("1 of its 2 modules have another shape" in note for note in notes), notes
    assert torch.equal(pipeline.unet.get_submodule(key).weight, before)
    adapters.activate([])


def test_an_embedding_in_the_file_is_found_by_its_word(pipeline: Any, tmp_path: Path) -> None:
    widths = (pipeline.text_encoder.config.hidden_size, pipeline.text_encoder_2.config.hidden_size)
    tensors = {f"{flat(QUERY)}.diff": draw(*pipeline.unet.get_submodule(QUERY).weight.shape)}
    tensors |= {"bundle_emb.my tok.clip_l": draw(2, widths[0]), "bundle_emb.my tok.clip_g": draw(2, widths[1])}
    tensors |= {"bundle_emb.half.clip_l": draw(2, widths[0]), "bundle_emb.wide.clip_l": draw(2, 999)}
    tensors |= {"bundle_emb.wide.clip_g": draw(2, widths[1])}
    save_file(tensors, tmp_path / "x.safetensors")
    active = LoraAdapters(pipeline).activate([LoraRequest("x", tmp_path / "x.safetensors", 1.0)])
    assert active.embeddings.keys() == {"my tok"}
    assert torch.equal(active.embeddings["my tok"]["clip_g"], tensors["bundle_emb.my tok.clip_g"])
    assert sorted(note.partition(": ")[2] for note in active.notes) == [
        "its embedding half does not fit this model and was left out",
        "its embedding wide does not fit this model and was left out",
    ]


def test_what_fits_nothing_is_a_note_when_others_fit(pipeline: Any, tmp_path: Path) -> None:
    difference = draw(*pipeline.unet.get_submodule(QUERY).weight.shape)
    tensors = {f"{flat(QUERY)}.diff": difference, "lora_unet_something_new.diff": draw(4, 4)}
    tensors["bundle_emb.mytok.string_to_param.*"] = draw(2, 8)
    tensors["a_counter"] = draw(1)
    notes = check(pipeline, tmp_path, tensors, {f"{QUERY}.weight": difference})
    assert sorted(note.partition(": ")[2].partition(" (")[0] for note in notes) == [
        "1 of its 2 modules are not in this model and were left out",
        "1 of its 4 tensors are no LoRA weights and were left out",
        "it brings an embedding that SDXL cannot use, which was left out",
    ]


def test_a_file_is_used_when_only_one_of_its_modules_fits(pipeline: Any, tmp_path: Path) -> None:
    difference = draw(*pipeline.unet.get_submodule(QUERY).weight.shape)
    tensors = {f"lora_unet_something_new_{number}.diff": draw(4, 4) for number in range(3)}
    tensors[f"{flat(QUERY)}.diff"] = difference
    [note] = check(pipeline, tmp_path, tensors, {f"{QUERY}.weight": difference})
    assert "3 of its 4 modules are not in this model and were left out" in note


def test_a_file_of_another_architecture_is_refused(pipeline: Any, tmp_path: Path) -> None:
    tensors = {"lora_unet_something_new.diff": draw(4, 4), "lora_unet_something_else.diff": draw(4, 4)}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(RenderFailed, match=r"none of its 2 modules .*another architecture"):
        LoraAdapters(pipeline).activate([LoraRequest("x", tmp_path / "x.safetensors", 1.0)])
