"""Converts an SDXL pipeline's weights to the key names of original (ldm) checkpoints, as in downloaded single files.

The inverse of diffusers' `from_single_file`; key names follow diffusers/loaders/single_file_utils.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch

StateDict = dict[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPENCLIP_ENDS = {
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.final_layer_norm": "ln_final",
}
_OPENCLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def ldm_unet_name(key: str, layers_per_block: int, blocks_with_attention: frozenset[int]) -> str:
    """The ldm key of a UNet weight; `blocks_with_attention` are the up blocks with attentions."""
    stem, _, kind = key.rpartition(".")
    if stem in _UNET_ENDS:
        return f"{_UNET_ENDS[stem]}.{kind}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        part, number, rest = found[1], int(found[2]), found[3]
        return (
            f"middle_block.{number * 2}.{_ldm_resnet_name(rest)}"
            if part == "resnets"
            else f"middle_block.{number * 2 + 1}.{rest}"
        )
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if found is None:
        raise ValueError(f"{key} is no weight of an SDXL UNet")
    block, part, layer, rest = int(found[2]), found[3], int(found[4]), found[5]
    first = block * (layers_per_block + 1)
    if part == "downsamplers":
        return f"input_blocks.{1 + first + layers_per_block}.0.op.{kind}"
    if part == "upsamplers":
        place = 2 if block in blocks_with_attention else 1
        return f"output_blocks.{first + layers_per_block}.{place}.conv.{kind}"
    where = f"input_blocks.{1 + first + layer}" if found[1] == "down" else f"output_blocks.{first + layer}"
    return f"{where}.0.{_ldm_resnet_name(rest)}" if part == "resnets" else f"{where}.1.{rest}"


def original_layout_weights(
    unet: StateDict, vae: StateDict, clip_l: StateDict, clip_g: StateDict, layers_per_block: int
) -> StateDict:
    """The weights of the four modules as one state dict in the original layout."""
    attention = frozenset(int(key.split(".")[1]) for key in unet if re.match(r"up_blocks\.\d+\.attentions", key))
    whole: StateDict = {
        f"model.diffusion_model.{ldm_unet_name(key, layers_per_block, attention)}": weight
        for key, weight in unet.items()
    }
    depth = 1 + max(int(found[1]) for key in vae if (found := re.search(r"up_blocks\.(\d+)", key)))
    for key, weight in vae.items():
        name = _ldm_vae_name(key, depth)
        is_matrix = ".attn_1." in name and weight.ndim == 2
        whole[f"first_stage_model.{name}"] = weight[:, :, None, None] if is_matrix else weight
    for key, weight in clip_l.items():
        whole[f"conditioner.embedders.0.transformer.text_model.{key.removeprefix('text_model.')}"] = weight
    whole.update((f"conditioner.embedders.1.model.{name}", weight) for name, weight in _openclip_weights(clip_g))
    return {name: weight.contiguous() for name, weight in whole.items()}


def _ldm_resnet_name(rest: str) -> str:
    module, _, kind = rest.rpartition(".")
    return f"{_RESNET[module]}.{kind}"


def _ldm_vae_name(key: str, depth: int) -> str:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets", lambda found: f"up.{depth - 1 - int(found[1])}.block", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{depth - 1 - int(found[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", key)
    if "mid_block.attentions.0" in key:
        key = key.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, theirs in _VAE_ATTENTION.items():
            key = key.replace(f".{ours}.", f".{theirs}.")
    return key


def _openclip_weights(weights: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Convert to open_clip's layout: query, key and value in one matrix, and the projection transposed."""
    for key, weight in weights.items():
        if key == "text_projection.weight":
            yield "text_projection", weight.T
        elif found := re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", key):
            layer, module, kind = f"transformer.resblocks.{found[1]}", found[2], found[3]
            if module == "self_attn.q_proj":
                parts = [weights[key.replace("q_proj", f"{which}_proj")] for which in "qkv"]
                yield f"{layer}.attn.in_proj_{kind}", torch.cat(parts)
            elif module in _OPENCLIP_LAYER:
                yield f"{layer}.{_OPENCLIP_LAYER[module]}.{kind}", weight
        else:
            stem, _, kind = key.rpartition(".")
            yield (_OPENCLIP_ENDS[key] if key in _OPENCLIP_ENDS else f"{_OPENCLIP_ENDS[stem]}.{kind}"), weight
