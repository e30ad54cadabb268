"""Validates the safetensors header of an aesthetic-score model: layer names, and matching shapes.

Needs no torch, so a wrong model is refused at admission and not after the first image.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path

HEADER_BYTES_MAX = 1_000_000
_LAYER = re.compile(r"(.*?)\.?weight")


def layer_prefixes(names: Iterable[str]) -> list[str]:
    """The prefixes of the layers, in the order of the numbers in them."""
    found = [name.removesuffix("weight") for name in names if _LAYER.fullmatch(name)]
    return sorted(found, key=lambda prefix: ([int(number) for number in re.findall(r"\d+", prefix)], prefix))


def find_head_problem(path: Path, input_width: int | None) -> str | None:
    """Why the head at `path` cannot judge vectors of that width (None = not known), as the end of a sentence about it."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > HEADER_BYTES_MAX:
                return "is no safetensors file"
            shapes = {
                name: tuple(entry["shape"])
                for name, entry in json.loads(stream.read(length)).items()
                if "shape" in entry
            }
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return "is no safetensors file"
    for place, name in enumerate(layer_prefixes(shapes)):
        shape = shapes[f"{name}weight"]
        if len(shape) != 2 or (input_width is not None and shape[1] != input_width):
            whence = "the width of clip_h's vectors" if place == 0 else "from the layer before"
            what = "its first layer takes" if place == 0 else f"its layer {place + 1} takes"
            return f"does not fit: {what} {shape[-1] if shape else 0} numbers, and gets {input_width} ({whence})"
        input_width = shape[0]
    return None if input_width == 1 and layer_prefixes(shapes) else "does not end in one number"
