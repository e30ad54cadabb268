"""SDXL as a model family: what its checkpoints are recognised by, and how one is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    import torch

    from indexd.generate.family import RenderModel
    from indexd.worker.calls import WorkerSettings

# Of a single file in the original layout: the second text encoder and the first convolution of the UNet.
REQUIRED_KEYS = (
    "conditioner.embedders.1.model.token_embedding.weight",
    "model.diffusion_model.input_blocks.0.0.weight",
)


class SdxlFamily:
    """Checkpoints of SDXL: single files in the original layout, and diffusers folders."""

    name = "sdxl"

    def detect(self, path: Path) -> bool:
        """By the pipeline class of a folder, or by the tensors of a .safetensors file."""
        try:
            if path.is_dir():
                index = json.loads((path / "model_index.json").read_text("utf-8"))
                return str(index.get("_class_name", "")).startswith("StableDiffusionXL")
            with safe_open(path, framework="np") as file:
                return set(REQUIRED_KEYS) <= set(file.keys())
        except (OSError, ValueError, AttributeError, SafetensorError):
            return False

    def load(self, path: Path, device: torch.device, dtype_name: str, settings: WorkerSettings) -> RenderModel:
        """The model on `device`."""
        from indexd.generate.sdxl.pipeline import load_model

        return load_model(path, device, dtype_name, settings)


FAMILY = SdxlFamily()
