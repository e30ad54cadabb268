"""What an inpainting run keeps: outside its mask the original, at every noise level."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class InpaintMask:
    """`mask` (1, 1, h, w) is 1 where the picture is made anew and 0 where `original` (1, 4, h, w) stays; between, mixed."""

    mask: torch.Tensor
    original: torch.Tensor

    def restore_original(self, latents: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """`latents` inside the mask, `original` (noised to the same level) outside: exactly it where the mask is 0."""
        mask = self.mask.to(latents)
        mixed = torch.lerp(original.to(latents), latents, mask)
        return torch.where(mask > 0, mixed, original.to(latents))
