"""A LoRA file (kohya or diffusers) -> one pair of matrices a module, nothing guessed and nothing left out.

Both kinds say the same: W' = W + weight * alpha / rank * up @ down. LoHa, LoKr and Tucker-decomposed convolutions can be
said that way too (lora_products.py). What cannot (DoRA, full differences) is refused by name instead of being half applied.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from indexd.errors import RenderFailed
from indexd.generate.adapters import lycoris_matrices
from indexd.generate.sdxl.lora_targets import LoraTarget

_KEY_SUFFIXES = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".alpha": "alpha",
    **lycoris_matrices.PRODUCT_KEY_SUFFIXES,
}
# The oldest diffusers files: `…attn1.processor.to_q_lora.down.weight`.
_PROCESSOR_KEY = re.compile(r"(.*?)\.(?:processor\.)?(to_[qkv]|to_out)_lora\.(down|up)\.weight")
_CLIP_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "out_proj"}
_UNSUPPORTED_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    ".diff": "a full difference",
}


@dataclass(frozen=True, slots=True)
class LoraMatrices:
    """`down` (rank, in, ...) and `up` (out, rank, ...), with alpha / rank already in `up`."""

    down: torch.Tensor
    up: torch.Tensor


def read_lora(path: Path, name: str, lora_targets: Mapping[str, LoraTarget]) -> dict[LoraTarget, LoraMatrices]:
    """The matrices of every module named in the file. Raises RenderFailed with what does not fit."""
    if path.suffix.lower() != ".safetensors":
        raise RenderFailed(f"LoRA {name} is not a .safetensors file; convert it, because other formats can carry code")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise RenderFailed(f"LoRA {name} cannot be read: {error}") from error
    return _build_matrices(_group_by_module(weights, name), name, lora_targets, _metadata_alphas(metadata))


def lora_content_hash(path: Path) -> str:
    """The first 12 hex digits of the SHA-256 of what follows the header: A1111's "Lora hashes", Civitai's AutoV3."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        file.seek(8 + header_bytes)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


def _group_by_module(weights: Mapping[str, torch.Tensor], name: str) -> dict[str, dict[str, torch.Tensor]]:
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key, weight in weights.items():
        if kind := next((label for mark, label in _UNSUPPORTED_KINDS.items() if mark in key), None):
            raise RenderFailed(f"LoRA {name} is {kind} ({key}); only LoRA, LoCon, LoHa and LoKr are supported")
        if found := _PROCESSOR_KEY.fullmatch(key):
            projection = "to_out.0" if found[2] == "to_out" else found[2]
            modules.setdefault(_attention_module(found[1], projection), {})[found[3]] = weight
            continue
        ending = next((ending for ending in _KEY_SUFFIXES if key.endswith(ending)), None)
        if ending is None:
            raise RenderFailed(f"LoRA {name} has a key that is no LoRA weight: {key}")
        modules.setdefault(key.removesuffix(ending), {})[_KEY_SUFFIXES[ending]] = weight
    return modules


def _attention_module(path: str, projection: str) -> str:
    return f"{path}.{_CLIP_PROJECTIONS[projection] if path.startswith('text_encoder') else projection}"


def _build_matrices(
    modules: Mapping[str, Mapping[str, torch.Tensor]],
    name: str,
    lora_targets: Mapping[str, LoraTarget],
    alphas: Mapping[str, float],
) -> dict[LoraTarget, LoraMatrices]:
    strangers = [module for module in modules if module not in lora_targets]
    if strangers:
        raise RenderFailed(
            f"LoRA {name} does not fit this model: {len(strangers)} of its {len(modules)} modules are unknown "
            f"(the first is {strangers[0]}); it was made for another architecture"
        )
    if not modules:
        raise RenderFailed(f"LoRA {name} is empty")
    found: dict[LoraTarget, LoraMatrices] = {}
    for module, parts in modules.items():
        target = lora_targets[module]
        if lycoris_matrices.is_product(parts):
            found[target] = _fit_shape(_product_matrices(parts, target, name, module), target, name, module)
            continue
        if "down" not in parts or "up" not in parts:
            raise RenderFailed(f"LoRA {name} has only half of {module}")
        down, up = parts["down"].float(), parts["up"].float()
        rank = down.shape[0]
        if "mid" in parts:
            down = _merge_kernel(parts["mid"].float(), down, target, name, module)
        alpha = float(parts["alpha"]) if "alpha" in parts else alphas.get(target.component, float(rank))
        found[target] = _fit_shape(LoraMatrices(down, up * (alpha / rank)), target, name, module)
    return found


def _merge_kernel(kernel: torch.Tensor, down: torch.Tensor, target: LoraTarget, name: str, module: str) -> torch.Tensor:
    try:
        return lycoris_matrices.merge_tucker_kernel(kernel, down.flatten(1))
    except RuntimeError as error:  # the matrices do not go together
        raise RenderFailed(f"LoRA {name} does not fit this model: {module} is {target.weight_shape} here") from error


def _product_matrices(parts: Mapping[str, torch.Tensor], target: LoraTarget, name: str, module: str) -> LoraMatrices:
    alpha = float(parts["alpha"]) if "alpha" in parts else None
    try:
        made = lycoris_matrices.product_to_matrices(parts, target.weight_shape, alpha)
    except (RuntimeError, ValueError) as error:  # the matrices do not go together
        raise RenderFailed(f"LoRA {name} does not fit this model: {module} is {target.weight_shape} here") from error
    if made is None:
        raise RenderFailed(f"LoRA {name} has only half of {module}")
    return LoraMatrices(*made)


def _fit_shape(pair: LoraMatrices, target: LoraTarget, name: str, module: str) -> LoraMatrices:
    """The pair in the shapes of the module: a 1x1 convolution and a matrix are written for one another."""
    down, up, shape = pair.down, pair.up, target.weight_shape
    if len(shape) == 2:
        down, up = down.flatten(1), up.flatten(1)
    else:
        down = down[..., None, None] if down.ndim == 2 else down
        up = up[..., None, None] if up.ndim == 2 else up
    if down.shape[1:] != shape[1:] or up.shape[0] != shape[0] or up.shape[1] != down.shape[0]:
        raise RenderFailed(
            f"LoRA {name} does not fit this model: {module} is {tuple(shape)} here, and the file has "
            f"{tuple(pair.down.shape)} and {tuple(pair.up.shape)}"
        )
    return LoraMatrices(down.contiguous(), up.contiguous())


def _metadata_alphas(metadata: Mapping[str, str]) -> dict[str, float]:
    """diffusers writes peft's settings into the header: `{"unet.lora_alpha": 8, "text_encoder.r": 4, …}`."""
    try:
        stated = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        return {
            key.removesuffix(".lora_alpha"): float(value)
            for key, value in stated.items()
            if key.endswith(".lora_alpha")
        }
    except (ValueError, AttributeError, TypeError):
        return {}
