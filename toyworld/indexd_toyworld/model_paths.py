"""Paths of the toy world's models. They are installed with the package, so nobody needs to name a path."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

SHIPPED_WEIGHTS = Path(str(resources.files("indexd_toyworld"))) / "weights"
"""The weights that ship with indexd."""


@dataclass(frozen=True, slots=True)
class ToyModels:
    """Paths inside a folder of toy world models.

    `sdxl` is a diffusers folder, `clip_h` an open_clip folder, `bge` a sentence-transformers folder, `detector` an ultralytics file,
    `controlnet` a diffusers folder, `ip_adapter` a file with its image encoder beside it, `upscaler` a spandrel file, and `loras` a folder of
    LoRA files.
    """

    folder: Path
    sdxl: Path
    clip_h: Path
    bge: Path
    detector: Path
    controlnet: Path
    ip_adapter: Path
    upscaler: Path
    loras: Path


def toy_models(folder: Path = SHIPPED_WEIGHTS) -> ToyModels:
    """The paths inside `folder`, whether or not they exist."""
    return ToyModels(
        folder=folder,
        sdxl=folder / "sdxl",
        clip_h=folder / "clip_h",
        bge=folder / "bge",
        detector=folder / "detector" / "faces.pt",
        controlnet=folder / "controlnet-canny",
        ip_adapter=folder / "ip-adapter" / "toy-ip-adapter.safetensors",
        upscaler=folder / "upscaler" / "x2.safetensors",
        loras=folder / "lora",
    )
