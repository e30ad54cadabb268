"""What an inpainting run keeps: the original outside its mask, at every noise level."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class InpaintMask:
    """`mask` (1, 1, h, w): 1 = denoised, 0 = `original` (1, c, h, w) is kept, between = mixed."""

    mask: torch.Tensor
    original: torch.Tensor

    def restore_original(self, latents: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """`latents` inside the mask, `original` at the same noise level outside: exactly it where the mask is 0."""
        mask = self.mask.to(latents)
        mixed = torch.lerp(original.to(latents), latents, mask)
        return torch.where(mask > 0, mixed, original.to(latents))
