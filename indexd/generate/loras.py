"""LoRAs of one resident pipeline: injected once, switched by weight, the base untouched.

Adapters lie beside the base layers (peft), never merged into them, so switching all of them off gives back the base bit
for bit. Loading one costs about a second and switching nothing, so those of the last jobs stay, up to a budget of bytes.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer

from indexd.errors import RenderFailed
from indexd.generate.lora_file import Pair, content_hash, read_lora
from indexd.generate.lora_names import COMPONENTS, Target, targets

RESIDENT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class WantedLora:
    """One LoRA of a render; `text_weight` None = the same as `weight`."""

    name: str
    path: Path
    weight: float
    text_weight: float | None = None


@dataclass(frozen=True, slots=True)
class _Resident:
    adapter: str
    content_hash: str
    byte_count: int


class Loras:
    """The adapters of one pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self._models: Mapping[str, torch.nn.Module] = {name: getattr(pipeline, name) for name in COMPONENTS}
        self._known = targets(pipeline)
        self._resident: OrderedDict[tuple[str, int, int], _Resident] = OrderedDict()
        self._numbers = itertools.count()
        self._active: Mapping[str, Mapping[str, float]] = {name: {} for name in COMPONENTS}

    def activate(self, wanted: Sequence[WantedLora]) -> dict[str, str]:
        """Make exactly these LoRAs work, none for an empty sequence; answers name -> content hash.

        Raises RenderFailed when a file cannot be read or does not fit; then nothing is active.
        """
        try:
            found = [(lora, self._load(lora)) for lora in wanted]
        except Exception:
            self._switch({name: {} for name in COMPONENTS})
            raise
        self._forget({resident.adapter for _, resident in found})
        weights: dict[str, dict[str, float]] = {name: {} for name in COMPONENTS}
        for lora, resident in found:
            for component, active in weights.items():
                text_weight = lora.weight if lora.text_weight is None else lora.text_weight
                weight = lora.weight if component == "unet" else text_weight
                # The same file named twice adds up; weight 0 is the base and not "base + 0".
                active[resident.adapter] = active.get(resident.adapter, 0.0) + weight
        self._switch(
            {name: {key: weight for key, weight in active.items() if weight} for name, active in weights.items()}
        )
        return {lora.name: resident.content_hash for lora, resident in found}

    def active_in_text(self) -> tuple[object, ...]:
        """What tells embeddings apart: adapters and weights that are active in the text encoders."""
        return tuple(sorted(self._active["text_encoder"].items()))

    def _load(self, lora: WantedLora) -> _Resident:
        try:
            stat = lora.path.stat()
        except OSError as error:
            raise RenderFailed(f"LoRA {lora.name} cannot be read: {error.strerror}") from error
        key = (str(lora.path), stat.st_size, stat.st_mtime_ns)
        if key not in self._resident:
            pairs = read_lora(lora.path, lora.name, self._known)
            # Injecting touches the switches of layers that other adapters share: from a known state to a known state.
            self._switch({name: {} for name in COMPONENTS})
            adapter = f"lora{next(self._numbers)}"
            byte_count = 0
            for component, model in self._models.items():
                own = {target: pair for target, pair in pairs.items() if target.component == component}
                if own:
                    byte_count += _inject(model, adapter, own)
            self._resident[key] = _Resident(adapter, content_hash(lora.path), byte_count)
        self._resident.move_to_end(key)
        return self._resident[key]

    def _forget(self, needed: set[str]) -> None:
        total = sum(resident.byte_count for resident in self._resident.values())
        for key, resident in list(self._resident.items()):
            if total <= RESIDENT_BYTES:
                return
            if resident.adapter not in needed:
                del self._resident[key]
                total -= resident.byte_count
                for layer in self._layers():
                    layer.delete_adapter(resident.adapter)

    def _switch(self, weights: Mapping[str, Mapping[str, float]]) -> None:
        for component, active in weights.items():
            if active != self._active[component]:
                for layer in _adapted(self._models[component]):
                    _set(layer, active)
        self._active = weights

    def _layers(self) -> list[Any]:
        return [layer for model in self._models.values() for layer in _adapted(model)]


def _adapted(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def _set(layer: Any, active: Mapping[str, float]) -> None:
    here = [adapter for adapter in active if adapter in layer.lora_A]
    layer.enable_adapters(bool(here))
    if here:
        layer.set_adapter(here, inference_mode=True)
        for adapter in here:
            # Injected with alpha = rank and the file's alpha in the matrices, so the scale is the weight alone.
            layer.scaling[adapter] = active[adapter]


def _inject(model: torch.nn.Module, adapter: str, pairs: Mapping[Target, Pair]) -> int:
    """Put the matrices beside the layers of `model`; answers how many bytes they take."""
    # One rank for all: a pattern of ranks costs peft a search over all modules for each module. Rows of zeros add nothing.
    rank = max(pair.down.shape[0] for pair in pairs.values())
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=[target.module for target in pairs], bias="none")
    inject_adapter_in_model(config, model, adapter_name=adapter, low_cpu_mem_usage=True)
    byte_count = 0
    for target, pair in pairs.items():
        layer: Any = model.get_submodule(target.module)
        base: torch.Tensor = layer.get_base_layer().weight
        for holder, matrix, axis in ((layer.lora_A, pair.down, 0), (layer.lora_B, pair.up, 1)):
            weight = _padded(matrix, axis, rank).to(device=base.device, dtype=base.dtype)
            holder[adapter].weight = torch.nn.Parameter(weight, requires_grad=False)
            byte_count += weight.numel() * weight.element_size()
        layer.enable_adapters(False)
    return byte_count


def _padded(matrix: torch.Tensor, axis: int, rank: int) -> torch.Tensor:
    missing = rank - matrix.shape[axis]
    if not missing:
        return matrix
    shape = list(matrix.shape)
    shape[axis] = missing
    return torch.cat([matrix, matrix.new_zeros(shape)], dim=axis)
