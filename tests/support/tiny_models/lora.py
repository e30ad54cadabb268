"""A tiny LoRA in the form that kohya's trainer writes for SDXL: ldm names for the UNet, te1 and te2 for the encoders."""

from __future__ import annotations

import re

import torch

from indexd_toyworld.original_layout import StateDict, ldm_unet_name

RANK = 2
_UNET_TARGETS = re.compile(r"transformer_blocks\.\d+\.attn[12]\.(to_q|to_k|to_v|to_out\.0)\.weight$")
_TEXT_TARGETS = re.compile(r"self_attn\.(q|k|v|out)_proj\.weight$")


def lora_weights(unet: torch.nn.Module, clip_l: torch.nn.Module, clip_g: torch.nn.Module) -> StateDict:
    """Down, up and alpha of every attention of the three modules; strong enough to be seen in a picture."""
    names = unet.state_dict()
    attention = frozenset(int(key.split(".")[1]) for key in names if re.match(r"up_blocks\.\d+\.attentions", key))
    weights: StateDict = {}
    for key, weight in names.items():
        if _UNET_TARGETS.search(key):
            _add_module(weights, "lora_unet", ldm_unet_name(key, 2, attention), weight)
    for prefix, encoder in (("lora_te1", clip_l), ("lora_te2", clip_g)):
        for key, weight in encoder.state_dict().items():
            if _TEXT_TARGETS.search(key):
                _add_module(weights, prefix, f"text_model.{key.removeprefix('text_model.')}", weight)
    return weights


def _add_module(weights: StateDict, prefix: str, key: str, weight: torch.Tensor) -> None:
    name = f"{prefix}_{key.removesuffix('.weight').replace('.', '_')}"
    outputs, inputs = weight.shape
    weights[f"{name}.lora_down.weight"] = torch.randn(RANK, inputs).half()
    weights[f"{name}.lora_up.weight"] = (torch.randn(outputs, RANK) * 0.3).half()
    weights[f"{name}.alpha"] = torch.tensor(float(RANK)).half()
