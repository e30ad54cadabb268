"""Writes the toy pipeline as one checkpoint in the original layout on demand, so the weights ship only once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from indexd_toyworld.model_paths import SHIPPED_WEIGHTS, toy_models
from indexd_toyworld.original_layout import StateDict, original_layout_weights

NAME = "toy-world"


def write_single_file(folder: Path, weights: Path = SHIPPED_WEIGHTS) -> Path:
    """Write `folder`/toy-world.safetensors, with its configuration and tokenizers in toy-world.config beside it.

    Returns the path of the checkpoint. Overwrites existing files.
    """
    sdxl = toy_models(weights).sdxl
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{NAME}.safetensors"
    layers = int(json.loads((sdxl / "unet" / "config.json").read_text("utf-8"))["layers_per_block"])
    unet, vae, clip_l, clip_g = (
        _read_weights(sdxl / part) for part in ("unet", "vae", "text_encoder", "text_encoder_2")
    )
    whole = original_layout_weights(unet, vae, clip_l, clip_g, layers_per_block=layers)
    save_file(whole, target, metadata={"modelspec.architecture": "stable-diffusion-xl-v1-base"})
    config = folder / f"{NAME}.config"
    shutil.rmtree(config, ignore_errors=True)
    shutil.copytree(sdxl, config, ignore=shutil.ignore_patterns("*.safetensors"))
    return target


def _read_weights(folder: Path) -> StateDict:
    (file,) = folder.glob("*.safetensors")
    weights: StateDict = load_file(file)
    return weights
