"""Clean latents -> pixels, with a look at what came out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate.sdxl.pipeline import ResidentPipeline

STAGE = "decode"


def decode_latents(model: ResidentPipeline, latents: torch.Tensor, *, is_part: bool = False) -> Image.Image:
    """The picture as RGB. Raises RenderFailed with what was measured when it is not a picture at all.

    A `part` of a picture may well be black.
    """
    pipeline = model.text_to_image
    vae: Any = pipeline.vae
    with torch.no_grad():
        decoded: torch.Tensor = vae.decode(_unscale(latents, vae), return_dict=False)[0]
    bad = int((~torch.isfinite(decoded)).sum())
    if bad:
        raise RenderFailed(
            f"{STAGE}: {bad} of {decoded.numel()} pixel values are not numbers (VAE in {str(vae.dtype).removeprefix('torch.')})"
        )
    picture: Image.Image = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
    if not is_part and not np.asarray(picture).any():
        low, high = float(latents.min()), float(latents.max())
        raise RenderFailed(
            f"{STAGE}: every pixel is black (latents between {low:.3g} and {high:.3g}, "
            f"decoded below {float(decoded.max()):.3g}); the model or a LoRA broke the picture"
        )
    return picture


def _unscale(latents: torch.Tensor, vae: Any) -> torch.Tensor:
    latents = latents.to(vae.dtype)
    mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or deviation is None:
        unscaled: torch.Tensor = latents / vae.config.scaling_factor
        return unscaled
    shape = (1, latents.shape[1], 1, 1)
    offset = torch.tensor(mean, device=latents.device, dtype=latents.dtype).view(shape)
    spread = torch.tensor(deviation, device=latents.device, dtype=latents.dtype).view(shape)
    return latents * spread / vae.config.scaling_factor + offset
