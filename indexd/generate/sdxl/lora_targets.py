"""Every name under which LoRA files name a module -> the module in this pipeline.

kohya's trainer flattens module paths (`.` becomes `_`) and writes either diffusers' paths or, for SDXL, those of the original
(sgm) UNet; ComfyUI and ai-toolkit write the original paths after `diffusion_model.`, LyCORIS flattens diffusers' after
`lycoris_`. Flattened names cannot be split again without guessing, so the table is built from the modules that exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from indexd_schemas.lora_blocks import OUTER_BLOCK, TEXT_BLOCK

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")

_FLAT_PREFIXES = {
    "unet": ("lora_unet_", "lycoris_"),
    "text_encoder": ("lora_te1_", "lora_te_"),
    "text_encoder_2": ("lora_te2_",),
}
_DOTTED_PREFIXES = {
    "unet": ("unet.", "diffusion_model.", ""),
    "text_encoder": ("text_encoder.", "text_encoders.clip_l.transformer."),
    "text_encoder_2": ("text_encoder_2.", "text_encoders.clip_g.transformer."),
}
_ADAPTABLE = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.GroupNorm, torch.nn.LayerNorm)
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class LoraTarget:
    """A module that a LoRA can change: a layer, or a norm (`weight_shape` of one side); `block` is where it is
    (indexd_schemas/lora_blocks.py)."""

    component: str
    module: str
    weight_shape: tuple[int, ...]
    block: str


def find_lora_targets(pipeline: Any) -> Mapping[str, LoraTarget]:
    """The table for one pipeline; make it before any adapter is injected, which renames modules."""
    table: dict[str, LoraTarget] = {}
    for component in COMPONENTS:
        model = getattr(pipeline, component)
        layers = model.config.layers_per_block if component == "unet" else 0
        for name, module in model.named_modules():
            if isinstance(module, _ADAPTABLE):
                block = _block_name(original_unet_name(name, layers)) if component == "unet" else TEXT_BLOCK
                target = LoraTarget(component, name, tuple(module.weight.shape), block)
                table.update((alias, target) for alias in _aliases(component, name, layers))
    return table


def _block_name(original: str | None) -> str:
    side, _, rest = (original or "").partition(".")
    name = {"input_blocks": "in", "middle_block": "mid", "output_blocks": "out"}.get(side, OUTER_BLOCK)
    return name + rest.partition(".")[0] if name in ("in", "out") else name


def _aliases(component: str, name: str, layers_per_block: int) -> Iterator[str]:
    paths = [name]
    if component == "unet":
        original = original_unet_name(name, layers_per_block)
        paths += [original] if original else []
    elif not name.startswith("text_model."):
        # Newer transformers dropped this level from CLIPTextModel; files keep it.
        paths.append(f"text_model.{name}")
    for path in paths:
        yield from (prefix + path for prefix in _DOTTED_PREFIXES[component])
        yield from (prefix + path.replace(".", "_") for prefix in _FLAT_PREFIXES[component])


def original_unet_name(name: str, layers_per_block: int) -> str | None:
    """The path of a diffusers UNet module in the original (sgm) layout, None where there is no such module."""
    if name in _OUTER:
        return _OUTER[name]
    if found := _MIDDLE.fullmatch(name):
        kind, index, rest = found[1], int(found[2]), found[3]
        return (
            _resnet_path(f"middle_block.{2 * index}", rest)
            if kind == "resnets"
            else f"middle_block.{2 * index + 1}.{rest}"
        )
    if found := _BLOCK.fullmatch(name):
        side, block, kind, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        first = block * (layers_per_block + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + layers_per_block + 1}.0.op"
        if kind == "upsamplers":
            # SDXL's up blocks that end in an upsampler all have attention before it.
            return f"output_blocks.{first + layers_per_block}.2.conv"
        place = f"input_blocks.{first + index + 1}" if side == "down" else f"output_blocks.{first + index}"
        return _resnet_path(f"{place}.0", rest) if kind == "resnets" else f"{place}.1.{rest}"
    return None


def _resnet_path(block: str, rest: str) -> str | None:
    return f"{block}.{_RESNET[rest]}" if rest in _RESNET else None
