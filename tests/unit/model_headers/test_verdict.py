"""Which files can be used as what: one rule for admission, doctor and the lists."""

from __future__ import annotations

import pytest

from indexd.model_headers.description import ModelDescription
from indexd.model_headers.verdict import find_unusable_reason
from indexd_schemas.recipe_part import FileKind

FOUND = {
    "SDXL checkpoint": ModelDescription("safetensors", "checkpoint", "sdxl", channels=4, has_vae=True),
    "inpainting checkpoint": ModelDescription("safetensors", "checkpoint", "sdxl", channels=9),
    "edit checkpoint": ModelDescription("safetensors", "checkpoint", "sdxl", channels=8),
    "SD1 checkpoint": ModelDescription("safetensors", "checkpoint", "sd1", channels=4),
    "Flux UNet": ModelDescription("safetensors", "diffusion_model", "flux"),
    "SDXL LoRA": ModelDescription("safetensors", "lora", "sdxl"),
    "SD1 LoRA": ModelDescription("safetensors", "lora", "sd1"),
    "LoRA": ModelDescription("safetensors", "lora"),
    "VAE": ModelDescription("safetensors", "vae", channels=4),
    "Flux VAE": ModelDescription("safetensors", "vae", channels=16),
    "pickle": ModelDescription("pickle"),
    "GGUF": ModelDescription("gguf"),
    "empty": ModelDescription("unknown", problem="is empty (0 bytes); download it again"),
    "4-bit checkpoint": ModelDescription("safetensors", "checkpoint", "sdxl", channels=4, quantization="bitsandbytes"),
    "something": ModelDescription("safetensors"),
}


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("checkpoint", "SDXL checkpoint"),
        ("checkpoint", "inpainting checkpoint"),
        ("checkpoint", "something"),
        ("lora", "SDXL LoRA"),
        ("lora", "LoRA"),
        ("vae", "VAE"),
        ("vae", "SDXL checkpoint"),
        ("detector", "pickle"),
    ],
)
def test_nothing_speaks_against_what_fits(wanted: FileKind, name: str) -> None:
    assert find_unusable_reason(wanted, FOUND[name], pickles_allowed=False) is None


@pytest.mark.parametrize(
    ("wanted", "name", "reason"),
    [
        ("checkpoint", "SDXL LoRA", "is a LoRA of SDXL, not a checkpoint; name it under `loras:`"),
        ("checkpoint", "SD1 checkpoint", "was made for Stable Diffusion 1, and indexd renders with SDXL"),
        ("checkpoint", "Flux UNet", "is a diffusion model without text encoders of Flux.1, not a checkpoint"),
        ("checkpoint", "edit checkpoint", "takes 8 input channels (a model for edit)"),
        (
            "checkpoint",
            "4-bit checkpoint",
            "is quantized (bitsandbytes), which indexd cannot read; use the fp16, bf16 or fp8",
        ),
        ("checkpoint", "VAE", "is a VAE, not a checkpoint; name it with `vae:`"),
        ("lora", "SD1 LoRA", "was made for Stable Diffusion 1"),
        ("lora", "SDXL checkpoint", "is a checkpoint of SDXL, not a LoRA; name it with `model:`"),
        ("vae", "Flux VAE", "has latents of 16 channels, and SDXL's have 4"),
        (
            "checkpoint",
            "pickle",
            "is a pickle, which can carry code; convert it to .safetensors, or set pickle_checkpoints",
        ),
        ("lora", "GGUF", "is a GGUF file, which indexd cannot read"),
        ("controlnet", "empty", "is empty (0 bytes); download it again"),
    ],
)
def test_what_does_not_fit_is_one_predicate_with_the_cure(wanted: FileKind, name: str, reason: str) -> None:
    found = find_unusable_reason(wanted, FOUND[name], pickles_allowed=False)
    assert found is not None
    assert found.startswith(reason)
    assert "\n" not in found


def test_pickles_count_where_the_setting_allows_them() -> None:
    assert find_unusable_reason("checkpoint", FOUND["pickle"], pickles_allowed=True) is None
    assert find_unusable_reason("lora", FOUND["pickle"], pickles_allowed=True) is not None
