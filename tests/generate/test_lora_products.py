"""LoHa and LoKr against their definitions, written out with the products themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

from indexd.generate.lora_file import read_lora
from indexd.generate.lora_names import Target, targets
from indexd.generate.lora_products import as_pair

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
    assert torch.allclose(delta(as_pair(parts, shape, 3.0)), expected.reshape(shape), atol=1e-4)


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
    assert torch.allclose(delta(as_pair(parts, shape, 3.0)), expected, atol=1e-4)


def test_lokr_with_a_product_on_both_sides() -> None:
    parts = {"lokr_ca": draw(2, 1), "lokr_cb": draw(1, 2), "lokr_u": draw(6, 2), "lokr_v": draw(2, 4)}
    expected = 1.5 * torch.kron(parts["lokr_ca"] @ parts["lokr_cb"], parts["lokr_u"] @ parts["lokr_v"])
    assert torch.allclose(delta(as_pair(parts, (12, 8), 3.0)), expected, atol=1e-4)


def test_files_are_read_by_their_names(tiny_models: Any, tmp_path: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)
    stem, other = "lora_unet_time_embed_0", "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"
    weights = {f"{stem}.hada_w1_a": draw(64, 2), f"{stem}.hada_w1_b": draw(2, 16), f"{stem}.hada_w2_a": draw(64, 2)}
    weights |= {f"{stem}.hada_w2_b": draw(2, 16) + 1, f"{stem}.alpha": torch.tensor(1.0)}
    weights |= {f"{other}.lokr_w1": draw(4, 4), f"{other}.lokr_w2": draw(8, 8)}
    save_file({key: weight.contiguous() for key, weight in weights.items()}, tmp_path / "both.safetensors")
    found = read_lora(tmp_path / "both.safetensors", "both", targets(pipeline))
    by_module = {target.module: delta((pair.down, pair.up)) for target, pair in found.items()}
    assert all(isinstance(target, Target) for target in found)
    expected = (weights[f"{stem}.hada_w1_a"] @ weights[f"{stem}.hada_w1_b"]) * (
        weights[f"{stem}.hada_w2_a"] @ weights[f"{stem}.hada_w2_b"]
    )
    assert torch.allclose(by_module["time_embedding.linear_1"], expected / 2, atol=1e-4)
    [query] = [weight for name, weight in by_module.items() if name.endswith("layers.0.self_attn.q_proj")]
    assert torch.allclose(query, torch.kron(weights[f"{other}.lokr_w1"], weights[f"{other}.lokr_w2"]), atol=1e-4)
