"""The further input channels of an inpainting UNet: the mask, and the latents of the image without what lies under it.

Of nine input channels the first four are the noisy latents, the fifth is the mask (1 = painted anew) and the last four are the
latents of the image in which the masked part is grey (diffusers' StableDiffusionXLInpaintPipeline, A1111's
modules/processing.py). A pass without mask shows the model a whole mask and grey alone, as A1111 does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from indexd.generate.sdxl.guided_unet import UnetCall

INPAINT_CHANNELS = 9
GREY_SIDE_PX = 256
"""The latents of grey are the same everywhere but near the edges, so a small image shows them."""


@dataclass(frozen=True, slots=True)
class InpaintChannels:
    """A hook that gives the UNet the mask and the masked image: (1, 5, h, w)."""

    channels: torch.Tensor

    def apply(self, call: UnetCall) -> None:
        """The channels replace the blank ones."""
        call.inpaint_channels = self.channels


def hide_masked(pixels: torch.Tensor, mask: Image.Image) -> torch.Tensor:
    """Pixels (1, 3, height, width) from -1 to 1 with 0, grey, where the mask is at least half."""
    hidden = torch.from_numpy(np.asarray(mask.convert("L")) >= 128).to(pixels.device)
    return torch.where(hidden[None, None], torch.zeros_like(pixels), pixels)


def blank_channels(grey_latents: torch.Tensor) -> torch.Tensor:
    """(1, 5, 1, 1): a whole mask, and grey as the middle of its latents (1, 4, h, w) has it."""
    height, width = grey_latents.shape[-2:]
    middle = grey_latents[:, :, height // 4 : -(height // 4), width // 4 : -(width // 4)].mean(dim=(2, 3), keepdim=True)
    return torch.cat([torch.ones_like(middle[:, :1]), middle], dim=1)
