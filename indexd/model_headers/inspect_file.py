"""Describes model files and folders without reading a weight, and without unpickling."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexd.model_headers.classification import describe_tensors
from indexd.model_headers.description import FAMILY_OF_TEXT_WIDTH, ModelDescription, ModelKind, clip_text
from indexd.model_headers.file_format import detect_format
from indexd.model_headers.safetensors_header import UnreadableHeader, read_safetensors_header

_CONFIG_BYTES_MAX = 1 << 20
_FOLDER_FILES_MAX = 200
# Types of a ControlNet-union whose configuration does not state their number: those of its first release.
_UNION_TYPES = 6
_PIPELINES = (
    ("StableDiffusionXL", "sdxl"),
    ("StableDiffusion3", "sd3"),
    ("StableDiffusion", "sd1"),
    ("Flux2", "flux2"),
    ("Flux", "flux"),
    ("QwenImage", "qwen-image"),
    ("PixArt", "pixart"),
    ("Lumina2", "lumina2"),
    ("ZImage", "z-image"),
    ("Chroma", "chroma"),
    ("HiDream", "hidream"),
    ("AuraFlow", "auraflow"),
    ("StableCascade", "cascade"),
    ("Wan", "wan"),
)
_MODULES: tuple[tuple[str, ModelKind], ...] = (
    ("ControlNet", "controlnet"),
    ("AutoencoderKL", "vae"),
    ("UNet2DCondition", "diffusion_model"),
    ("CLIPVision", "image_encoder"),
    ("CLIPText", "text_encoder"),
)


def describe_model(path: Path) -> ModelDescription:
    """The description of a file, or of a folder of diffusers. Raises OSError where it cannot be opened."""
    return _describe_folder(path) if path.is_dir() else _describe_file(path)


def _describe_file(path: Path) -> ModelDescription:
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return ModelDescription("unknown", problem="is no regular file; put the model file in its place")
        size = status.st_size
        found, problem = detect_format(file, size)
        if problem or found != "safetensors":
            return ModelDescription(found, problem=problem)
        try:
            return describe_tensors(read_safetensors_header(file, size))
        except UnreadableHeader as error:
            return ModelDescription("safetensors", problem=str(error))


def _describe_folder(path: Path) -> ModelDescription:
    index = _read_config(path / "model_index.json")
    module = _read_config(path / "config.json")
    found = _describe_pipeline(path, index) if index else _describe_module(module)
    return replace(found, problem=_folder_problem(path, is_pipeline=(path / "model_index.json").exists()))


def _folder_problem(path: Path, *, is_pipeline: bool) -> str:
    if is_pipeline and not _read_config(path / "model_index.json"):
        return "has a model_index.json that cannot be read; copy the folder again"
    weights = list(_weight_files(path))
    if not weights:
        return "has no .safetensors weights; copy the folder again"
    for file in weights:
        if problem := _describe_file(file).problem:
            return f"has a file {file.relative_to(path).as_posix()} that {problem}"
    return ""


def _describe_pipeline(path: Path, index: dict[str, Any]) -> ModelDescription:
    name = clip_text(index.get("_class_name", ""))
    family = next((family for start, family in _PIPELINES if name.startswith(start)), "")
    unet = _read_config(path / "unet" / "config.json")
    if family in ("sd1", "sdxl"):
        family = FAMILY_OF_TEXT_WIDTH.get(_number(unet.get("cross_attention_dim")) or 0, family)
    return ModelDescription(
        "folder",
        "checkpoint",
        family or name,
        channels=_number(unet.get("in_channels")),
        has_vae=(path / "vae").is_dir(),
    )


def _describe_module(config: dict[str, Any]) -> ModelDescription:
    name = clip_text([config.get("_class_name"), config.get("architectures")])
    kind: ModelKind = next((kind for start, kind in _MODULES if start in name), "unknown")
    width = _number(config.get("cross_attention_dim"))
    family = FAMILY_OF_TEXT_WIDTH.get(width or 0, "")
    for start, named in (("Flux", "flux"), ("SD3", "sd3")):
        family = named if start in name else family
    types = _number(config.get("num_control_type")) or (_UNION_TYPES if "ControlNetUnion" in name else 0)
    channels = _number(config.get("latent_channels"))
    return ModelDescription("folder", kind, family, channels=channels, control_types=types)


def _weight_files(path: Path) -> Iterator[Path]:
    files = sorted([*path.glob("*.safetensors"), *path.glob("*/*.safetensors")])
    yield from files[:_FOLDER_FILES_MAX]


def _read_config(path: Path) -> dict[str, Any]:
    """A small JSON file; {} where it is missing or no such thing."""
    try:
        with path.open("rb") as file:
            text = file.read(_CONFIG_BYTES_MAX + 1)
        found = json.loads(text) if len(text) <= _CONFIG_BYTES_MAX else None
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 31 else None
