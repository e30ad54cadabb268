"""LoHa, LoKr and Tucker's form against their definitions, written out with the products or run as convolutions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

from indexd.errors import RenderFailed
from indexd.generate.adapters.lora_file import read_lora
from indexd.generate.adapters.lycoris_matrices import product_to_matrices
from indexd.generate.sdxl.lora_targets import LoraTarget, find_lora_targets

SHAPES = [(12, 8), (8, 12), (6, 4, 3, 3)]


def delta(pair: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
    """What a pair adds to the weight of its module."""
    assert pair is not None
    down, up = pair
    return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(math.prod(shape)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_loha(shape: tuple[int, ...], rank: int) -> None:
    columns = math.prod(shape[1:])
    parts = {"loha_a1": draw(shape[0], rank), "loha_b1": draw(rank, columns)}
    parts |= {"loha_a2": draw(shape[0], rank) + 1, "loha_b2": draw(rank, columns) - 1}
    expected = (parts["loha_a1"] @ parts["loha_b1"]) * (parts["loha_a2"] @ parts["loha_b2"]) * (3.0 / rank)
    assert torch.allclose(delta(product_to_matrices(parts, shape, 3.0)), expected.reshape(shape), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("small", [(2, 2), (1, 4), (2, 1)])
@pytest.mark.parametrize("whole", [True, False])
def test_lokr(shape: tuple[int, ...], small: tuple[int, int], whole: bool) -> None:
    rows, columns = shape[0] // small[0], shape[1] // small[1]
    kernel = shape[2:]
    outer = draw(*small)
    if whole:
        inner = draw(rows, columns, *kernel)
        parts, scale = {"lokr_c": outer, "lokr_d": inner}, 1.0
    else:
        left, right = draw(rows, 2), draw(2, columns * math.prod(kernel))
        parts, scale = {"lokr_c": outer, "lokr_u": left, "lokr_v": right}, 3.0 / 2
        inner = (left @ right).reshape(rows, columns, *kernel)
    expected = scale * torch.kron(outer.reshape(*small, *[1] * len(kernel)), inner)
    assert torch.allclose(delta(product_to_matrices(parts, shape, 3.0)), expected, atol=1e-4)


def test_lokr_with_a_product_on_both_sides() -> None:
    parts = {"lokr_ca": draw(2, 1), "lokr_cb": draw(1, 2), "lokr_u": draw(6, 2), "lokr_v": draw(2, 4)}
    expected = 1.5 * torch.kron(parts["lokr_ca"] @ parts["lokr_cb"], parts["lokr_u"] @ parts["lokr_v"])
    assert torch.allclose(delta(product_to_matrices(parts, (12, 8), 3.0)), expected, atol=1e-4)


def tucker(kernel: torch.Tensor, out: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
    """The weight of three convolutions in a row, told by what they make of one lit input channel after the other."""
    places = torch.nn.functional.pad(torch.eye(into.shape[1])[:, :, None, None], (1, 1, 1, 1))
    inner = torch.nn.functional.conv2d(places, into[..., None, None])
    answer = torch.nn.functional.conv2d(
        torch.nn.functional.conv2d(inner, kernel, padding=1), out.T[..., None, None]
    )  # (in, out, 3, 3), each kernel turned round by the convolution
    return answer.transpose(0, 1).flip(2, 3).contiguous()


def test_tuckers_form_of_loha_and_lokr() -> None:
    kernels, outs, intos = (
        (draw(2, 2, 3, 3), draw(2, 2, 3, 3) - 1),
        (draw(2, 6), draw(2, 6) + 1),
        (draw(2, 4), draw(2, 4)),
    )
    parts = {"loha_t1": kernels[0], "loha_a1": outs[0], "loha_b1": intos[0]}
    parts |= {"loha_t2": kernels[1], "loha_a2": outs[1], "loha_b2": intos[1]}
    first, second = (tucker(*each) for each in zip(kernels, outs, intos, strict=True))
    assert torch.allclose(delta(product_to_matrices(parts, (6, 4, 3, 3), 3.0)), 1.5 * first * second, atol=1e-4)
    parts = {"lokr_c": draw(2, 3), "lokr_t": kernels[0], "lokr_u": outs[0], "lokr_v": intos[0]}
    expected = 1.5 * torch.kron(draw(2, 3)[..., None, None], first)
    assert torch.allclose(delta(product_to_matrices(parts, (12, 12, 3, 3), 3.0)), expected, atol=1e-4)


def test_tuckers_form_of_locon_is_read(tiny_models: Any, tmp_path: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)
    out, into, _, _ = pipeline.unet.down_blocks[0].resnets[0].conv1.weight.shape
    stem, known = "lora_unet_input_blocks_1_0_in_layers_2", find_lora_targets(pipeline)
    weights = {f"{stem}.lora_up.weight": draw(out, 2, 1, 1), f"{stem}.lora_down.weight": draw(2, into, 1, 1)}
    weights |= {f"{stem}.lora_mid.weight": draw(2, 2, 3, 3), f"{stem}.alpha": torch.tensor(1.0)}
    save_file(weights, tmp_path / "mid.safetensors")
    [(target, pair)] = read_lora(tmp_path / "mid.safetensors", "mid", known).matrices.items()
    assert target.module == "down_blocks.0.resnets.0.conv1"
    up, down = weights[f"{stem}.lora_up.weight"][..., 0, 0], weights[f"{stem}.lora_down.weight"][..., 0, 0]
    expected = tucker(weights[f"{stem}.lora_mid.weight"], up.T, down) / 2
    assert torch.allclose(delta((pair.down, pair.up)), expected, atol=1e-4)
    save_file(weights | {f"{stem}.lora_mid.weight": draw(3, 3, 3, 3)}, tmp_path / "wrong.safetensors")
    with pytest.raises(RenderFailed, match="wrong does not fit this model: lora_unet_input_blocks_1_0_in_layers_2 is"):
        read_lora(tmp_path / "wrong.safetensors", "wrong", known)


def test_files_are_read_by_their_names(tiny_models: Any, tmp_path: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)
    stem, other = "lora_unet_time_embed_0", "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"
    weights = {f"{stem}.hada_w1_a": draw(64, 2), f"{stem}.hada_w1_b": draw(2, 16), f"{stem}.hada_w2_a": draw(64, 2)}
    weights |= {f"{stem}.hada_w2_b": draw(2, 16) + 1, f"{stem}.alpha": torch.tensor(1.0)}
    weights |= {f"{other}.lokr_w1": draw(4, 4), f"{other}.lokr_w2": draw(8, 8)}
    save_file({key: weight.contiguous() for key, weight in weights.items()}, tmp_path / "both.safetensors")
    found = read_lora(tmp_path / "both.safetensors", "both", find_lora_targets(pipeline)).matrices
    by_module = {target.module: delta((pair.down, pair.up)) for target, pair in found.items()}
    assert all(isinstance(target, LoraTarget) for target in found)
    expected = (weights[f"{stem}.hada_w1_a"] @ weights[f"{stem}.hada_w1_b"]) * (
        weights[f"{stem}.hada_w2_a"] @ weights[f"{stem}.hada_w2_b"]
    )
    assert torch.allclose(by_module["time_embedding.linear_1"], expected / 2, atol=1e-4)
    [query] = [weight for name, weight in by_module.items() if name.endswith("layers.0.self_attn.q_proj")]
    assert torch.allclose(query, torch.kron(weights[f"{other}.lokr_w1"], weights[f"{other}.lokr_w2"]), atol=1e-4)
