"""Clean latents -> an image, with a check of the result."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate.family import RenderModel

STAGE = "decode"


def decode_latents(model: RenderModel, latents: torch.Tensor, *, is_part: bool = False) -> Image.Image:
    """The RGB image. Raises RenderFailed with the measured values when it has NaN pixels or is all black.

    A part of an image may be black (`is_part`).
    """
    decoded = model.decode(latents)
    bad = int((~torch.isfinite(decoded)).sum())
    if bad:
        dtype = str(decoded.dtype).removeprefix("torch.")
        raise RenderFailed(f"{STAGE}: {bad} of {decoded.numel()} pixel values are not numbers (decoded in {dtype})")
    pixels = (decoded / 2 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()[0]
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    if not is_part and not np.asarray(image).any():
        low, high = float(latents.min()), float(latents.max())
        raise RenderFailed(
            f"{STAGE}: every pixel is black (latents between {low:.3g} and {high:.3g}, "
            f"decoded below {float(decoded.max()):.3g}); the model or a LoRA broke the image"
        )
    return image
