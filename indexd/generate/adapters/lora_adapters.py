"""LoRAs of one resident pipeline: injected once, switched by weight, the base untouched.

Adapters lie beside the base layers (peft), never merged into them, so switching all of them off gives back the base bit for
bit. Differences of biases and norms are added to a copy of the parameter, which takes its place while they are active. Loading
a LoRA costs about a second and switching nothing, so those of the last jobs stay, up to a budget of bytes.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer

from indexd.errors import RenderFailed
from indexd.generate.adapters.lora_file import LoraMatrices, LoraWeights, lora_content_hash, read_lora
from indexd.generate.sdxl.lora_targets import COMPONENTS, LoraTarget, find_lora_targets
from indexd_schemas.lora_blocks import TEXT_BLOCK, UNET_BLOCKS, block_factors

RESIDENT_BYTES = 2 << 30
_ENCODER_OF_EMBEDDING = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}

# For each adapter its weight in each block where that is not 0.
ActiveWeights = Mapping[str, Mapping[str, float]]

BundledEmbeddings = Mapping[str, Mapping[str, torch.Tensor]]
"""Embeddings by the word that calls them: (vectors, width) by the name of the text encoder."""


@dataclass(frozen=True, slots=True)
class LoraRequest:
    """One LoRA of a render; `text_weight` None = the same as `weight`, `blocks` None = all of it everywhere."""

    name: str
    path: Path
    weight: float
    text_weight: float | None = None
    blocks: Mapping[str, float] | None = None

    def block_weights(self, component: str) -> dict[str, float]:
        """The weight in every block of a component. Raises RenderFailed for blocks that there are not."""
        try:
            by_block = block_factors(self.blocks or {})
        except ValueError as error:
            raise RenderFailed(f"LoRA {self.name}: {error}") from error
        text_weight = self.weight if self.text_weight is None else self.text_weight
        if component == "unet":
            return {block: self.weight * by_block[block] for block in UNET_BLOCKS}
        return {TEXT_BLOCK: text_weight * by_block[TEXT_BLOCK]}


@dataclass(frozen=True, slots=True)
class _ResidentLora:
    adapter: str
    content_hash: str
    byte_count: int
    notes: tuple[str, ...]
    vectors: Mapping[tuple[LoraTarget, str], torch.Tensor]
    embeddings: BundledEmbeddings


@dataclass(frozen=True, slots=True)
class ActivatedLoras:
    """Content hashes by name, what of the files was left out, and the embeddings that the files bring."""

    hashes: dict[str, str]
    notes: tuple[str, ...] = ()
    embeddings: BundledEmbeddings = field(default_factory=dict)


class LoraAdapters:
    """The adapters of one pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self._models: Mapping[str, torch.nn.Module] = {name: getattr(pipeline, name) for name in COMPONENTS}
        self._targets = find_lora_targets(pipeline)
        self._blocks = {(target.component, target.module): target.block for target in self._targets.values()}
        self._resident: OrderedDict[tuple[str, int, int], _ResidentLora] = OrderedDict()
        self._adapter_numbers = itertools.count()
        self._active: Mapping[str, ActiveWeights] = {name: {} for name in COMPONENTS}
        self._replaced_parameters: dict[tuple[LoraTarget, str], torch.nn.Parameter | None] = {}

    def activate(self, requests: Sequence[LoraRequest]) -> ActivatedLoras:
        """Make exactly these LoRAs active, none for an empty sequence.

        Raises RenderFailed when a file cannot be read or does not fit; then none is active.
        """
        try:
            found = [(lora, self._load(lora)) for lora in requests]
            weights = {component: _sum_weights(component, found) for component in COMPONENTS}
        except Exception:
            self._switch({name: {} for name in COMPONENTS})
            raise
        self._evict({resident.adapter for _, resident in found})
        self._switch(weights)
        notes = dict.fromkeys(note for _, resident in found for note in resident.notes)
        hashes = {lora.name: resident.content_hash for lora, resident in found}
        embeddings = {word: one for _, resident in found for word, one in resident.embeddings.items()}
        return ActivatedLoras(hashes, tuple(notes), embeddings)

    def active_text_weights(self) -> tuple[object, ...]:
        """What tells embeddings apart: adapters and weights that are active in the text encoders."""
        return tuple(sorted((key, weights[TEXT_BLOCK]) for key, weights in self._active["text_encoder"].items()))

    def _load(self, request: LoraRequest) -> _ResidentLora:
        try:
            stat = request.path.stat()
        except OSError as error:
            raise RenderFailed(f"LoRA {request.name} cannot be read: {error.strerror}") from error
        key = (str(request.path), stat.st_size, stat.st_mtime_ns)
        if key not in self._resident:
            weights = read_lora(request.path, request.name, self._targets, self._base_parameter)
            # Injecting touches the switches of layers that other adapters share: from a known state to a known state.
            self._switch({name: {} for name in COMPONENTS})
            adapter = f"lora{next(self._adapter_numbers)}"
            byte_count = 0
            for component, model in self._models.items():
                own = {target: pair for target, pair in weights.matrices.items() if target.component == component}
                if own:
                    byte_count += _inject(model, adapter, own)
            embeddings = self._fitting_embeddings(request.name, weights)
            self._resident[key] = _ResidentLora(
                adapter,
                lora_content_hash(request.path),
                byte_count,
                tuple(weights.notes),
                weights.vectors,
                embeddings,
            )
        self._resident.move_to_end(key)
        return self._resident[key]

    def _fitting_embeddings(self, name: str, weights: LoraWeights) -> BundledEmbeddings:
        """The embeddings of a file that fit both text encoders; the others become notes."""
        widths = {key: self._models[part].config.hidden_size for key, part in _ENCODER_OF_EMBEDDING.items()}
        fitting = {}
        for word, tensors in weights.embeddings.items():
            sizes = {key: (len(tensor), *tensor.shape[1:]) for key, tensor in tensors.items()}
            count = min((size[0] for size in sizes.values()), default=0)
            if sizes == {key: (count, width) for key, width in widths.items()}:
                fitting[word] = tensors
            else:
                weights.notes.append(f"LoRA {name}: its embedding {word} does not fit this model and was left out")
        return fitting

    def _evict(self, needed: set[str]) -> None:
        total = sum(resident.byte_count for resident in self._resident.values())
        for key, resident in list(self._resident.items()):
            if total <= RESIDENT_BYTES:
                return
            if resident.adapter not in needed:
                del self._resident[key]
                total -= resident.byte_count
                for layer in self._layers():
                    layer.delete_adapter(resident.adapter)

    def _switch(self, weights: Mapping[str, ActiveWeights]) -> None:
        for component, active in weights.items():
            if active != self._active[component]:
                for name, layer in _adapted_layers(self._models[component]):
                    _set_layer_weights(layer, active, self._blocks[component, name])
        self._switch_vectors(weights)
        self._active = weights

    def _switch_vectors(self, weights: Mapping[str, ActiveWeights]) -> None:
        """Parameters with differences of active LoRAs become copies; all others are the base's own objects again."""
        for (target, name), base in self._replaced_parameters.items():
            setattr(self._base_module(target), name, base)
        self._replaced_parameters = {}
        for resident in self._resident.values():
            for (target, name), difference in resident.vectors.items():
                weight = weights[target.component].get(resident.adapter, {}).get(target.block, 0.0)
                if weight:
                    self._add_to_parameter(target, name, weight * difference)

    def _add_to_parameter(self, target: LoraTarget, name: str, difference: torch.Tensor) -> None:
        module = self._base_module(target)
        current = getattr(module, name)
        self._replaced_parameters.setdefault((target, name), current)
        like = module.weight if current is None else current
        total = difference.to(device=like.device) + (0 if current is None else current.float())
        setattr(module, name, torch.nn.Parameter(total.to(like.dtype), requires_grad=False))

    def _base_module(self, target: LoraTarget) -> Any:
        module: Any = self._models[target.component].get_submodule(target.module)
        return module.get_base_layer() if isinstance(module, BaseTunerLayer) else module

    def _base_parameter(self, target: LoraTarget, name: str) -> torch.Tensor | None:
        if (target, name) in self._replaced_parameters:
            return self._replaced_parameters[target, name]
        parameter: torch.Tensor | None = getattr(self._base_module(target), name, None)
        return parameter

    def _layers(self) -> list[Any]:
        return [layer for model in self._models.values() for _, layer in _adapted_layers(model)]


def _sum_weights(component: str, found: Sequence[tuple[LoraRequest, _ResidentLora]]) -> ActiveWeights:
    """The same file named twice adds up; weight 0 is the base and not "base + 0"."""
    summed: dict[str, dict[str, float]] = {}
    for lora, resident in found:
        of_file = summed.setdefault(resident.adapter, {})
        for block, weight in lora.block_weights(component).items():
            of_file[block] = of_file.get(block, 0.0) + weight
    kept = {key: {block: weight for block, weight in blocks.items() if weight} for key, blocks in summed.items()}
    return {key: blocks for key, blocks in kept.items() if blocks}


def _adapted_layers(model: torch.nn.Module) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def _set_layer_weights(layer: Any, active: ActiveWeights, block: str) -> None:
    here = [adapter for adapter, weights in active.items() if adapter in layer.lora_A and block in weights]
    layer.enable_adapters(bool(here))
    if here:
        layer.set_adapter(here, inference_mode=True)
        for adapter in here:
            # Injected with alpha = rank and the file's alpha in the matrices, so the scale is the weight alone.
            layer.scaling[adapter] = active[adapter][block]


def _inject(model: Any, adapter: str, pairs: Mapping[LoraTarget, LoraMatrices]) -> int:
    """Put the matrices beside the layers of `model`, in the format that it computes in; returns how many bytes they take."""
    # One rank for all, the matrices' own do not matter to it: a pattern of ranks costs peft a search over all modules for
    # each module.
    config = LoraConfig(r=1, lora_alpha=1, target_modules=[target.module for target in pairs], bias="none")
    inject_adapter_in_model(config, model, adapter_name=adapter, low_cpu_mem_usage=True)
    byte_count = 0
    for target, pair in pairs.items():
        layer: Any = model.get_submodule(target.module)
        base: torch.Tensor = layer.get_base_layer().weight
        for holder, matrix in ((layer.lora_A, pair.down), (layer.lora_B, pair.up)):
            weight = matrix.to(device=base.device, dtype=model.dtype)
            holder[adapter].weight = torch.nn.Parameter(weight, requires_grad=False)
            byte_count += weight.numel() * weight.element_size()
        layer.enable_adapters(False)
    return byte_count
