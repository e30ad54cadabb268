"""Turn what a file states into values that can be kept: bounded, exact, and None for everything else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from indexd.image_metadata.budget import ReadBudget
from indexd.image_metadata.redact import redact_secrets

SEED_END = 1 << 64
"""Seeds of ComfyUI go up to 2**64 - 1."""

INT_MAX = (1 << 31) - 1
TEXT_MAX = 1 << 20
"""Characters of one prompt that are kept; the raw chunk keeps the rest."""

EXTRA_MAX = 4000
NUMBER_CHARACTERS_MAX = 60
FLOAT_DECIMALS = 6

_PLACEHOLDERS = frozenset(
    (
        *("none", "null", "undefined", "default", "unknown", "n/a", "default (model)", "use default", "auto"),
        *("baked vae", "baked-in", "baked in", "baked", "built-in", "from checkpoint", "same as model", "use same"),
    )
)
_EXACT_FLOAT_MAX = 1 << 53
_DIGITS = re.compile(r"[0-9]{1,20}")
_SIZE = re.compile(r"(\d{1,6})\s*[xX×]\s*(\d{1,6})")
_MODEL_SUFFIX = re.compile(r"\.(safetensors|ckpt|pth?|bin|gguf|sft|onnx|pkl)$", re.IGNORECASE)


def parse_seed(value: object) -> str | None:
    """A seed as decimal text, exact up to 2**64 - 1. None for what is no seed: -1, true, 1.5, a text without digits."""
    if isinstance(value, float):
        if not value.is_integer() or abs(value) >= _EXACT_FLOAT_MAX:
            return None
        value = int(value)
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value.strip()):
            return None
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return str(value) if 0 <= value < SEED_END else None


def parse_float(value: object) -> float | None:
    """A finite number, also from text. Numbers of 32 bits lose the digits that they never had (0.8109999895 is 0.811)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > NUMBER_CHARACTERS_MAX:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return round(found, FLOAT_DECIMALS) if math.isfinite(found) else None


def parse_int(value: object) -> int | None:
    """A whole number that fits 32 bits, also from "20" and 20.0."""
    found = parse_float(value)
    return int(found) if found is not None and found.is_integer() and abs(found) <= INT_MAX else None


def clean_text(value: object) -> str | None:
    """A text with its lines ended by LF and nothing around it. Empty stays empty: the file states that there is none."""
    return value[:TEXT_MAX].replace("\r\n", "\n").strip() if isinstance(value, str) else None


def nonempty_text(value: object) -> str | None:
    """Like `clean_text`, but None where the text is empty."""
    return clean_text(value) or None


def parse_model_name(value: object) -> str | None:
    """The name of a model from a path: the last part, without the suffix of a weight file. None for placeholders."""
    name = nonempty_text(value)
    if name is None or is_placeholder(name):
        return None
    return _MODEL_SUFFIX.sub("", re.split(r"[\\/]", name)[-1].strip()) or None


def is_placeholder(name: str) -> bool:
    """Whether a choice says that nothing was chosen ("None", "Baked VAE", "Default (model)")."""
    return name.strip().lower() in _PLACEHOLDERS


def parse_size(value: object) -> tuple[int, int] | None:
    """Width and height in pixels from "512x768" or "1216 x 832 (landscape)"."""
    match = _SIZE.search(value[:200]) if isinstance(value, str) else None
    if match is None or not (int(match[1]) and int(match[2])):
        return None
    return int(match[1]), int(match[2])


def parse_json(value: str, budget: ReadBudget | None = None) -> Any:
    """The JSON value of a text, or None. NaN, padding and trailing NULs are taken.

    The number of values is bounded by `budget`; depth and digits are bounded by Python.
    """
    stripped = value.strip("\0 \t\r\n\ufeff")
    if stripped[:1] not in ("{", "[", '"') or not (budget or ReadBudget()).take_json(stripped):
        return None
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return None


def unmapped_pairs(settings: Mapping[str, Any], mapped_keys: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Every non-empty pair that has no column, as it is shown."""
    return tuple(
        (key, display_text(value))
        for key, value in settings.items()
        if key not in mapped_keys and value not in (None, "", [], {})
    )


def as_object(value: object) -> dict[str, Any]:
    """The value when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON list; empty where it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def display_text(value: object) -> str:
    """Any stated value as a short text without secrets, for the pairs that have no column."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return redact_secrets(text[:EXTRA_MAX])
