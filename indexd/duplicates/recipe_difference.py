"""In which settings two recipes differ, as far as both state them: images with different recipes are no copies."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from indexd.name_key import name_key
from indexd.store.records import ImageRow

_SPACES = re.compile(r"\s+")
_MODEL_ENDINGS = frozenset((".safetensors", ".ckpt", ".pt", ".pth", ".gguf", ".sft"))


def differing_settings(one: ImageRow, other: ImageRow) -> tuple[str, ...]:
    """The settings that both state and that differ. Samplers, LoRAs and denoise count within one generator only:
    programs name them differently, and leave different ones out."""
    if not (_has_recipe(one) and _has_recipe(other)):
        return ()
    names = [name for name, read in _ALWAYS.items() if _differs(read(one), read(other))]
    if one.generator == other.generator:
        names += [name for name, read in _WITHIN_ONE_GENERATOR.items() if read(one) != read(other)]
    return tuple(names)


def _has_recipe(row: ImageRow) -> bool:
    return row.prompt is not None or row.seed is not None


def _differs(one: Any, other: Any) -> bool:
    return one is not None and other is not None and one != other


def _text(text: str | None) -> str | None:
    return None if text is None else _SPACES.sub(" ", text).strip()


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _model(row: ImageRow) -> str | None:
    if row.model_name is None:
        return None
    name = PurePosixPath(row.model_name.replace("\\", "/"))
    return name_key(name.stem if name.suffix.lower() in _MODEL_ENDINGS else name.name)


_ALWAYS: dict[str, Callable[[ImageRow], Any]] = {
    "prompt": lambda row: _text(row.prompt),
    "negative prompt": lambda row: _text(row.negative_prompt),
    "seed": lambda row: row.seed,
    "steps": lambda row: row.steps,
    "cfg": lambda row: _number(row.cfg),
    "model": _model,
}
_WITHIN_ONE_GENERATOR: dict[str, Callable[[ImageRow], Any]] = {
    "sampler": lambda row: row.sampler,
    "schedule": lambda row: row.schedule,
    "denoise": lambda row: _number(row.denoise),
    "loras": lambda row: sorted((name_key(lora.name), _number(lora.weight) or 0.0) for lora in row.loras),
}
