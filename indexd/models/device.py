"""Devices and number formats: from words in the settings to what this machine has, and memory given back."""

from __future__ import annotations

import gc

import torch

from indexd.errors import ModelUnavailable


def resolve_device(wanted: str, role: str) -> str:
    """`auto` -> the GPU if there is one, else the CPU. Raises ModelUnavailable for a GPU that is not there."""
    if wanted in ("", "auto"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not wanted.startswith("cuda"):
        return wanted
    if not torch.cuda.is_available():
        raise ModelUnavailable(
            role, f'the device {wanted} does not exist on this machine; set device = "auto" or "cpu"'
        )
    if torch.device(wanted).index is not None and torch.device(wanted).index >= torch.cuda.device_count():
        raise ModelUnavailable(role, f"its device is {wanted} and this machine has {torch.cuda.device_count()} GPU(s)")
    return wanted


def resolve_dtype(wanted: str, device: str) -> str:
    """`auto` -> float16 on a GPU, float32 on the CPU."""
    if wanted != "auto":
        return wanted
    return "float16" if device.startswith("cuda") else "float32"


FP8 = "fp8"
"""Weights of the UNet stored in eight bits (e4m3), each layer computed in bfloat16: half the memory of half precision."""


def torch_dtype(name: str) -> torch.dtype:
    """The torch type in which "float32", "float16", "bfloat16" or "fp8" computes."""
    dtype: torch.dtype = getattr(torch, "bfloat16" if name == FP8 else name)
    return dtype


def free_device_memory() -> None:
    """Collect what is not referenced any more and give the allocator's empty blocks back to the GPU."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of a device or of the host ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError))
