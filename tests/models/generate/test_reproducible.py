"""The same numbers give the same bits: whatever was loaded before, and wherever the arrays lie in memory."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from indexd.reproducibility import REPRODUCIBLE, set_reproducible_environment


def test_the_environment_is_set_but_a_users_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    set_reproducible_environment()
    assert os.environ["MKL_CBWR"] == "COMPATIBLE"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == REPRODUCIBLE["CUBLAS_WORKSPACE_CONFIG"]


@pytest.mark.parametrize("loras", [[], [{"name": "tiny-lora", "weight": 0.7}]])
def test_no_weight_requires_a_gradient(studio: Any, loras: list[dict[str, Any]]) -> None:
    """torch.matmul takes mm or bmm by `requires_grad`, and the two differ in the last bit on AVX-512."""
    studio(files={"tiny-lora": str(studio.models.lora)} if loras else {}, loras=loras)
    pipeline = studio.resident().pipeline
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        assert [name for name, weight in module.named_parameters() if weight.requires_grad] == []


def _placed(values: torch.Tensor, offset: int) -> torch.Tensor:
    """A copy that begins `offset` elements after an aligned address."""
    room = torch.empty(values.numel() + offset, dtype=values.dtype)
    copy = room[offset:].view(values.shape)
    copy.copy_(values)
    return copy


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("rows", "inner", "columns"), [(77, 64, 128), (16, 320, 40), (32, 32, 32), (1, 1280, 320)])
def test_matrix_products_and_convolutions_do_not_depend_on_addresses(
    rows: int, inner: int, columns: int, dtype: torch.dtype
) -> None:
    chance = torch.Generator().manual_seed(rows)
    left = torch.randn(rows, inner, generator=chance).to(dtype)
    right = torch.randn(inner, columns, generator=chance).to(dtype)
    image = torch.randn(1, 8, 17, 17, generator=chance).to(dtype)
    kernel = torch.randn(12, 8, 3, 3, generator=chance).to(dtype)
    product, convolved = left @ right, torch.conv2d(image, kernel, padding=1)
    for offset in (1, 3, 7, 16, 31, 33):
        assert torch.equal(_placed(left, offset) @ _placed(right, offset * 5), product)
        assert torch.equal(torch.conv2d(_placed(image, offset), _placed(kernel, offset * 3), padding=1), convolved)
