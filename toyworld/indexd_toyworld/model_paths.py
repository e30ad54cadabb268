"""Where the toy world's models lie: installed with the package, so nobody has to name a path."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

SHIPPED_WEIGHTS = Path(str(resources.files("indexd_toyworld"))) / "weights"
"""The shipped ones."""


@dataclass(frozen=True, slots=True)
class ToyModels:
    """A folder of the toy world's models, and what is where in it.

    `sdxl` is a diffusers folder, `clip_h` an open_clip folder, `bge` a sentence-transformers folder, `detector` an
    ultralytics file, `controlnet` a diffusers folder, `ip_adapter` a file with its image encoder beside it, `upscaler` a file for spandrel, `loras` a folder of LoRA files.
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
    """The paths inside `folder`, whether they are there or not."""
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
