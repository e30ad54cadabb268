"""A LoRA file -> what it changes in each module, nothing guessed.

Most files state a pair of matrices a module: W' = W + weight * alpha / rank * up @ down. LoHa, LoKr, Tucker-decomposed
convolutions (lycoris_matrices.py), OFT, GLoRA, IA3 (weight_transforms.py), full differences and DoRA are converted to such
pairs, exactly. Differences of biases and norms are vectors beside them. OneTrainer's files may hold embeddings as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from indexd.errors import RenderFailed
from indexd.generate.adapters import lycoris_matrices, weight_transforms
from indexd.generate.finite_weights import raise_if_not_finite
from indexd.generate.sdxl.lora_targets import LoraTarget
from indexd.generate.usable_files import raise_if_unusable

_KEY_SUFFIXES = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_B.bias": "up_bias",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".alpha": "alpha",
    ".dora_scale": "magnitude",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".diff": "difference",
    ".diff_b": "bias",
    ".w_norm": "norm_weight",
    ".b_norm": "bias",
    **lycoris_matrices.PRODUCT_KEY_SUFFIXES,
    **weight_transforms.TRANSFORM_KEY_SUFFIXES,
}
# The oldest diffusers files: `…attn1.processor.to_q_lora.down.weight`.
_PROCESSOR_KEY = re.compile(r"(.*?)\.(?:processor\.)?(to_[qkv]|to_out)_lora\.(down|up)\.weight")
# peft puts its model around the modules, and the adapter's name into the key.
_PEFT_PREFIX = "base_model.model."
_PEFT_ADAPTER = re.compile(r"\.(lora_(?:A|B|magnitude_vector)|oft_R|ia3_l)\.(?!weight$|bias$)[^.]+(\.weight|\.bias)?$")
_CLIP_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "out_proj"}
# OneTrainer stores the embeddings that were trained together with a LoRA in the same file: `bundle_emb.<word>.clip_l`.
_EMBEDDING_KEY = re.compile(r"bundle_emb\.(.+)\.(clip_l|clip_g|string_to_param\.\*)")
_EMBEDDING_PREFIX = "bundle_emb."
_IA3_MARK = ".on_input"
_UNSUPPORTED_PARTS = {".oft_diag": "an old form of OFT"}

BaseParameter = Callable[[LoraTarget, str], torch.Tensor | None]
"""The base model's `weight` or `bias` of a module; None where it has no such parameter."""


@dataclass(frozen=True, slots=True)
class LoraMatrices:
    """`down` (rank, in, ...) and `up` (out, rank, ...), with alpha / rank already in `up`."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """What a file changes at weight 1. `vectors` are differences of `weight` or `bias` by target and parameter.

    `embeddings` are those for prompts, by the word that calls them: (vectors, width) by the name of the encoder.
    """

    matrices: dict[LoraTarget, LoraMatrices] = field(default_factory=dict)
    vectors: dict[tuple[LoraTarget, str], torch.Tensor] = field(default_factory=dict)
    embeddings: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _HeaderScale:
    """peft's settings from the header of a diffusers file, of one component."""

    alpha: float | None = None
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False

    def factor(self, module: str, rank: int) -> float:
        """The factor on a module's matrices; rank-stabilised (arXiv 2312.03732) it divides by the root of the rank."""
        matching = (alpha for key, alpha in self.alpha_pattern.items() if re.fullmatch(rf"(?:.*\.)?(?:{key})", module))
        alpha = next(matching, self.alpha if self.alpha is not None else float(rank))
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


class _ModuleMisfit(RenderFailed):
    """The tensors of one module do not fit its weight in this model."""


def read_lora(
    path: Path, name: str, lora_targets: Mapping[str, LoraTarget], base_parameter: BaseParameter | None = None
) -> LoraWeights:
    """What the file changes. `base_parameter` gives the weights of a module, which DoRA, OFT, GLoRA and IA3 need.

    Modules that the model has not are left out with a note as long as one fits. Raises RenderFailed with what does not fit.
    """
    raise_if_unusable("lora", name, path, pickle_allowed=False)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise RenderFailed(f"LoRA {name} cannot be read: {error}") from error
    reader = _LoraReader(name, lora_targets, _read_header(metadata), base_parameter)
    return reader.read(weights)


def lora_content_hash(path: Path) -> str:
    """The first 12 hex digits of the SHA-256 of what follows the header: A1111's "Lora hashes", Civitai's AutoV3."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        file.seek(8 + header_bytes)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _LoraReader:
    """Reads the tensors of one file."""

    name: str
    targets: Mapping[str, LoraTarget]
    header: Mapping[str, _HeaderScale]
    base_parameter: BaseParameter | None
    found: LoraWeights = field(default_factory=LoraWeights)

    def read(self, weights: Mapping[str, torch.Tensor]) -> LoraWeights:
        """Raises RenderFailed."""
        modules = self._group_by_module(weights)
        if not modules:
            raise RenderFailed(f"LoRA {self.name} is empty")
        unknown = [module for module in modules if module not in self.targets]
        if len(unknown) == len(modules):
            raise RenderFailed(
                f"LoRA {self.name} does not fit this model, which has none of its {len(modules)} modules "
                f"(the first is {unknown[0]}); it was made for another architecture"
            )
        if unknown:
            self.found.notes.append(
                f"LoRA {self.name}: {len(unknown)} of its {len(modules)} modules are not in this model and were left out "
                f"(the first is {unknown[0]})"
            )
        misfits = [error for module, parts in modules.items() if (error := self._read_fitting(module, parts))]
        if len(misfits) == len(modules) - len(unknown):
            raise misfits[0]
        if misfits:
            self.found.notes.append(
                f"LoRA {self.name}: {len(misfits)} of its {len(modules)} modules have another shape in this model and were "
                f"left out ({misfits[0]})"
            )
        return self.found

    def _read_fitting(self, module: str, parts: Mapping[str, torch.Tensor]) -> _ModuleMisfit | None:
        """Read the module if the model has it; returns why nothing of it is used."""
        target = self.targets.get(module)
        if target is None:
            return None
        try:
            self._read_module(module, target, parts)
        except _ModuleMisfit as error:
            for parameter in ("weight", "bias"):
                self.found.vectors.pop((target, parameter), None)
            return error
        return None

    def _group_by_module(self, weights: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        modules: dict[str, dict[str, torch.Tensor]] = {}
        of_ia3 = {key.removesuffix(_IA3_MARK) for key in weights if key.endswith(_IA3_MARK)}
        strange: list[str] = []
        raise_if_not_finite(f"LoRA {self.name}", weights)
        for key, weight in weights.items():
            if key.startswith(_EMBEDDING_PREFIX):
                self._read_embedding(key, weight)
                continue
            plain = _PEFT_ADAPTER.sub(r".\1\2", key.removeprefix(_PEFT_PREFIX))
            if found := _PROCESSOR_KEY.fullmatch(plain):
                projection = "to_out.0" if found[2] == "to_out" else found[2]
                modules.setdefault(_attention_module(found[1], projection), {})[found[3]] = weight
            elif plain.endswith(".weight") and plain.removesuffix(".weight") in of_ia3:
                modules.setdefault(plain.removesuffix(".weight"), {})[weight_transforms.IA3_WEIGHT] = weight
            elif ending := next((ending for ending in _KEY_SUFFIXES if plain.endswith(ending)), None):
                modules.setdefault(plain.removesuffix(ending), {})[_KEY_SUFFIXES[ending]] = weight
            elif kind := next((label for mark, label in _UNSUPPORTED_PARTS.items() if mark in plain), None):
                raise RenderFailed(f"LoRA {self.name} is {kind} ({key}), which is not supported")
            else:
                strange.append(key)
        if strange and not modules:
            raise RenderFailed(f"LoRA {self.name} has a key that is no LoRA weight: {strange[0]}")
        if strange:
            self.found.notes.append(
                f"LoRA {self.name}: {len(strange)} of its {len(weights)} tensors are no LoRA weights and were left out "
                f"(the first is {strange[0]})"
            )
        return modules

    def _read_embedding(self, key: str, weight: torch.Tensor) -> None:
        found = _EMBEDDING_KEY.fullmatch(key)
        if found is None or found[2] not in ("clip_l", "clip_g"):
            self.found.notes.append(
                f"LoRA {self.name}: it brings an embedding that SDXL cannot use, which was left out ({key})"
            )
            return
        self.found.embeddings.setdefault(found[1], {})[found[2]] = torch.atleast_2d(weight.float())

    def _read_module(self, module: str, target: LoraTarget, parts: Mapping[str, torch.Tensor]) -> None:
        for part, parameter in (("norm_weight", "weight"), ("bias", "bias")):
            if part in parts:
                self.found.vectors[target, parameter] = self._vector(module, target, parts[part].float())
        if len(target.weight_shape) < 2:
            return
        pair = self._read_matrices(module, target, parts)
        if pair is None:
            return
        fitted = self._fit_shape(pair, target, module)
        if "magnitude" in parts:
            fitted = self._apply_magnitude(fitted, target, module, parts["magnitude"].float())
        self.found.matrices[target] = fitted

    def _read_matrices(self, module: str, target: LoraTarget, parts: Mapping[str, torch.Tensor]) -> LoraMatrices | None:
        if "difference" in parts:
            return _full_difference(parts["difference"].float())
        if weight_transforms.is_transform(parts):
            return self._transform(module, target, parts)
        if lycoris_matrices.is_product(parts):
            return self._product_matrices(module, target, parts)
        if "down" not in parts and "up" not in parts and {"bias", "norm_weight"} & parts.keys():
            return None
        if "down" not in parts or "up" not in parts:
            raise RenderFailed(f"LoRA {self.name} has only half of {module}")
        down, up = parts["down"].float(), parts["up"].float()
        rank = down.shape[0]
        if rank == 0:
            raise RenderFailed(f"LoRA {self.name} is damaged: {module} has rank 0")
        if "mid" in parts:
            down = self._merge_kernel(module, target, parts["mid"].float(), down)
        header = self.header.get(target.component, _HeaderScale())
        factor = float(parts["alpha"]) / rank if "alpha" in parts else header.factor(target.module, rank)
        if "up_bias" in parts:
            self.found.vectors[target, "bias"] = self._vector(module, target, parts["up_bias"].float() * factor)
        return LoraMatrices(down, up * factor)

    def _transform(self, module: str, target: LoraTarget, parts: Mapping[str, torch.Tensor]) -> LoraMatrices:
        alpha = float(parts["alpha"]) if "alpha" in parts else None
        try:
            difference = weight_transforms.weight_difference(parts, self._base_weight(module, target), alpha)
        except (RuntimeError, ValueError) as error:  # the parts do not go together, or not with the weight
            raise self._misfit(module, target) from error
        if difference is None:
            raise RenderFailed(f"LoRA {self.name} has only half of {module}")
        factor = parts.get("ia3_factor")
        bias = self.base_parameter(target, "bias") if self.base_parameter is not None else None
        if factor is not None and bias is not None and weight_transforms.peft_ia3_axis(factor) == 0:
            scaled = bias.float().cpu() * (factor.float().flatten() - 1)
            self.found.vectors[target, "bias"] = self._vector(module, target, scaled)
        return _full_difference(difference)

    def _base_weight(self, module: str, target: LoraTarget) -> torch.Tensor:
        weight = None if self.base_parameter is None else self.base_parameter(target, "weight")
        if weight is None:
            raise RenderFailed(f"LoRA {self.name} changes {module} in a way that needs the model's weights")
        return weight.float().cpu()

    def _vector(self, module: str, target: LoraTarget, values: torch.Tensor) -> torch.Tensor:
        if values.numel() != target.weight_shape[0]:
            raise self._misfit(module, target)
        return values.flatten()

    def _merge_kernel(self, module: str, target: LoraTarget, kernel: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        try:
            return lycoris_matrices.merge_tucker_kernel(kernel, down.flatten(1))
        except RuntimeError as error:  # the matrices do not go together
            raise self._misfit(module, target) from error

    def _product_matrices(self, module: str, target: LoraTarget, parts: Mapping[str, torch.Tensor]) -> LoraMatrices:
        alpha = float(parts["alpha"]) if "alpha" in parts else None
        products = {part: weight for part, weight in parts.items() if part not in ("magnitude", "bias")}
        try:
            made = lycoris_matrices.product_to_matrices(products, target.weight_shape, alpha)
        except (RuntimeError, ValueError) as error:  # the matrices do not go together
            raise self._misfit(module, target) from error
        if made is None:
            raise RenderFailed(f"LoRA {self.name} has only half of {module}")
        return LoraMatrices(*made)

    def _fit_shape(self, pair: LoraMatrices, target: LoraTarget, module: str) -> LoraMatrices:
        """The pair in the shapes of the module: a 1x1 convolution and a matrix are written for one another."""
        down, up, shape = pair.down, pair.up, target.weight_shape
        if len(shape) == 2:
            down, up = down.flatten(1), up.flatten(1)
        else:
            down = down[..., None, None] if down.ndim == 2 else down
            up = up[..., None, None] if up.ndim == 2 else up
        if down.shape[1:] != shape[1:] or up.shape[0] != shape[0] or up.shape[1] != down.shape[0]:
            raise _ModuleMisfit(
                f"LoRA {self.name} does not fit this model: {module} is {tuple(shape)} here, and the file has "
                f"{tuple(pair.down.shape)} and {tuple(pair.up.shape)}"
            )
        return LoraMatrices(down.contiguous(), up.contiguous())

    def _apply_magnitude(
        self, pair: LoraMatrices, target: LoraTarget, module: str, magnitude: torch.Tensor
    ) -> LoraMatrices:
        """DoRA (arXiv 2402.09353): W' = magnitude * (W + up @ down) / norm, as the difference W' - W.

        The norm is taken over each output's weights, or over each input's where the file has one magnitude an input.
        """
        weight = self._base_weight(module, target)
        merged = weight + (pair.up.flatten(1) @ pair.down.flatten(1)).view(weight.shape)
        axis = next((axis for axis in (0, 1) if magnitude.numel() == weight.shape[axis]), None)
        if axis is None:
            raise self._misfit(module, target)
        others = [place for place in range(weight.ndim) if place != axis]
        shape = [-1 if place == axis else 1 for place in range(weight.ndim)]
        norm = merged.pow(2).sum(dim=others, keepdim=True).sqrt()
        return self._fit_shape(_full_difference(merged * (magnitude.view(shape) / norm) - weight), target, module)

    def _misfit(self, module: str, target: LoraTarget) -> _ModuleMisfit:
        return _ModuleMisfit(f"LoRA {self.name} does not fit this model: {module} is {target.weight_shape} here")


def _full_difference(difference: torch.Tensor) -> LoraMatrices:
    """A difference as a pair whose rank is the number of outputs."""
    outputs = torch.eye(len(difference))
    return LoraMatrices(difference, outputs if difference.ndim == 2 else outputs[..., None, None])


def _attention_module(path: str, projection: str) -> str:
    return f"{path}.{_CLIP_PROJECTIONS[projection] if path.startswith('text_encoder') else projection}"


def _read_header(metadata: Mapping[str, str]) -> dict[str, _HeaderScale]:
    """diffusers writes peft's settings into the header: `{"unet.lora_alpha": 8, "unet.use_rslora": true, …}`."""
    try:
        stated: dict[str, Any] = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        by_component: dict[str, dict[str, Any]] = {}
        for key, value in stated.items():
            component, _, setting = key.partition(".")
            by_component.setdefault(component, {})[setting] = value
        return {
            component: _HeaderScale(
                None if settings.get("lora_alpha") is None else float(settings["lora_alpha"]),
                {str(key): float(alpha) for key, alpha in (settings.get("alpha_pattern") or {}).items()},
                bool(settings.get("use_rslora")),
            )
            for component, settings in by_component.items()
        }
    except (ValueError, AttributeError, TypeError):
        return {}
