"""A single-file SDXL checkpoint (original layout) -> a diffusers pipeline, without a hub.

The configuration is the folder `<name>.config` beside the checkpoint where there is one (another size, other tokenizers),
else the shipped one of SDXL base. Tokenizers come from that folder, else from open_clip's vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors import SafetensorError, safe_open
from transformers import CLIPTokenizer

from indexd.errors import RenderFailed
from indexd.generate.sdxl.clip_tokenizers import build_clip_tokenizers

SHIPPED_CONFIG = Path(__file__).parent / "config"
_SECOND_ENCODER = "conditioner.embedders.1.model.token_embedding.weight"
_FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"


def load_single_file(path: Path, dtype: torch.dtype, *, pickle_allowed: bool) -> Any:
    """The pipeline on the CPU in `dtype`. Raises RenderFailed when the file is damaged or no SDXL checkpoint."""
    flags = _scheduler_flags(path, pickle_allowed=pickle_allowed)
    config = path.with_suffix(".config")
    if not config.is_dir():
        config = SHIPPED_CONFIG
    if (config / "tokenizer").is_dir():
        tokenizers = tuple(
            CLIPTokenizer.from_pretrained(config, subfolder=name, local_files_only=True)
            for name in ("tokenizer", "tokenizer_2")
        )
    else:
        tokenizers = build_clip_tokenizers()
    pipeline = StableDiffusionXLPipeline.from_single_file(
        str(path),
        config=str(config),
        local_files_only=True,
        dtype=dtype,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        add_watermarker=False,
    )
    if flags:
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **flags)
    return pipeline


def _scheduler_flags(path: Path, *, pickle_allowed: bool) -> dict[str, Any]:
    """What the checkpoint itself says about its noise: v-prediction models carry marker tensors of these names."""
    if path.suffix.lower() != ".safetensors":
        if pickle_allowed:
            return {}
        raise RenderFailed(
            f"checkpoint {path.name} is not a .safetensors file and can carry code; convert it, "
            "or set pickle_checkpoints under [generate]"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            metadata = file.metadata() or {}
            if _SECOND_ENCODER not in names or _FIRST_CONVOLUTION not in names:
                raise RenderFailed(
                    f"checkpoint {path.name} is no SDXL checkpoint: it has no {_SECOND_ENCODER}; "
                    "name a full SDXL base model (UNet, both text encoders and VAE)"
                )
            channels = file.get_slice(_FIRST_CONVOLUTION).get_shape()[1]
    except (OSError, SafetensorError) as error:
        raise RenderFailed(f"checkpoint {path.name} cannot be read: {error}; the file may be half copied") from error
    if channels != 4:
        raise RenderFailed(
            f"checkpoint {path.name} takes {channels} latent channels (an inpainting or edit model), not 4"
        )
    flags: dict[str, Any] = {}
    if "v_pred" in names or metadata.get("modelspec.prediction_type") == "v":
        flags["prediction_type"] = "v_prediction"
    if "ztsnr" in names:
        flags["rescale_betas_zero_snr"] = True
    return flags
