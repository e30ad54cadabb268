"""The header of a .safetensors file: names, number formats and shapes, checked against the size of the file.

Format: eight bytes with the length of the header (little endian), the header as JSON, then the tensors without gaps
(https://github.com/huggingface/safetensors, README "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_HEADER_BYTES = 16 << 20
"""The format allows 100 MB. The largest real headers, with a training log and a thumbnail in them, have 5 MB."""
MAX_TENSORS = 200_000
_MAX_DIMENSIONS = 16
_NUMBER_END = 1 << 62
_DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip


class UnreadableHeader(Exception):
    """The text says what is wrong and what to do, as a predicate ("is cut off: …; copy the file again")."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: its number format as the file names it, its shape, and its size in bytes."""

    dtype: str
    shape: tuple[int, ...]
    byte_count: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """The tensors by name, and the texts beside them."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, () where there is none of that name."""
        found = self.tensors.get(name)
        return () if found is None else found.shape


def read_safetensors_header(file: BinaryIO, size: int) -> SafetensorsHeader:
    """The header of a file of `size` bytes, which is at its start. Raises UnreadableHeader or OSError."""
    length = int.from_bytes(file.read(8), "little")
    start = file.read(1)
    if size < 10 or start != b"{":
        raise UnreadableHeader("is no safetensors file; download it again")
    if length > size - 8:
        raise UnreadableHeader(f"is cut off: it ends within its header, after {size} bytes; copy the file again")
    if length > MAX_HEADER_BYTES:
        raise UnreadableHeader(
            f"has a header of {length >> 20} MiB; at most {MAX_HEADER_BYTES >> 20} MiB are read; save it without its metadata"
        )
    tensors, metadata, end = _parse(start + file.read(length - 1))
    expected = 8 + length + end
    if size < expected:
        raise UnreadableHeader(f"is cut off: {size} of {expected} bytes are there; copy the file again")
    if size > expected:
        raise UnreadableHeader(f"is damaged: it has {size - expected} bytes after its last tensor; copy the file again")
    return SafetensorsHeader(tensors, metadata)


def _parse(text: bytes) -> tuple[dict[str, TensorInfo], dict[str, str], int]:
    """Tensors, metadata, and where the last tensor ends."""
    try:
        stated: Any = json.loads(text)
        metadata = stated.pop("__metadata__", None) or {}
        if len(stated) > MAX_TENSORS:
            raise UnreadableHeader(f"names {len(stated)} tensors; at most {MAX_TENSORS} are read")
        spans: list[tuple[int, int]] = []
        tensors: dict[str, TensorInfo] = {}
        for name, entry in stated.items():
            begin, end = entry["data_offsets"]
            shape = tuple(entry["shape"])
            if len(shape) > _MAX_DIMENSIONS or not all(map(_is_whole_number, (begin, end, *shape))):
                raise ValueError(name)
            dtype = entry["dtype"]
            bits = _DTYPE_BITS.get(dtype)
            if bits is not None and (math.prod(shape) * bits + 7) // 8 != end - begin:
                raise UnreadableHeader("is damaged: the size of a tensor does not fit its shape; download it again")
            spans.append((begin, end))
            tensors[name] = TensorInfo(dtype, shape, end - begin)
        texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnreadableHeader("is damaged: its header is not as the format states; download it again") from error
    spans.sort()
    place = 0
    for begin, end in spans:
        if begin != place:
            raise UnreadableHeader("is damaged: its tensors overlap or leave gaps; download it again")
        place = end
    return tensors, texts, place


def _is_whole_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < _NUMBER_END
