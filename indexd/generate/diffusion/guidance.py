"""Classifier-free guidance: how the outputs for several texts become one, and the interface that samplers call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from indexd.generate.diffusion.conditioning import StepConditioning, TextConditioning
from indexd.generate.sampling.step_position import StepPosition


class ModelHook(Protocol):
    """Something beside the texts that changes an evaluation of the model: a ControlNet, an IP-Adapter."""

    def apply(self, call: Any) -> None:
        """Change `call`, one evaluation in the form of the model's family, before it is made."""
        ...


class GuidedModel(Protocol):
    """A model with guidance. Latents are (1, c, h, w) in the model's scale and number format."""

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The guided output and the one for the negative text alone (None where the run is not guided)."""
        ...


class TileableModel(GuidedModel, Protocol):
    """A guided model that can also be evaluated for parts of the image."""

    def for_part(
        self, conditioning: TextConditioning, size: tuple[int, int], hooks: Sequence[ModelHook]
    ) -> GuidedModel:
        """The same guidance for a part of the image of `size` (height, width) in pixels, with its own texts and hooks."""
        ...


def combine_guidance(
    texts: StepConditioning,
    positive: Sequence[torch.Tensor],
    negative: torch.Tensor | None,
    *,
    cfg: float,
    rescale: float,
) -> torch.Tensor:
    """The guided output: negative + cfg * weight * (output - negative), summed over the texts.

    `rescale` (0..1) brings the spread back to that of the texts' own output (section 3.4 of arXiv 2305.08891). Without
    negative text, the mean by weight.
    """
    weights = [weight for _text, weight in texts.positive]
    if negative is None:
        return _weighted_mean(positive, weights)
    mixed = negative
    for output, weight in zip(positive, weights, strict=True):
        mixed = mixed + (cfg * weight) * (output - negative)
    if rescale > 0:
        mixed = _rescale_std(mixed, _weighted_mean(positive, weights), rescale)
    return mixed


def _weighted_mean(rows: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    if len(rows) == 1:
        return rows[0]
    total = sum(weights) or 1.0
    return torch.stack([row * (weight / total) for row, weight in zip(rows, weights, strict=True)]).sum(0)


def _rescale_std(mixed: torch.Tensor, text: torch.Tensor, share: float) -> torch.Tensor:
    dims = list(range(1, mixed.ndim))
    level = mixed * (text.std(dim=dims, keepdim=True) / mixed.std(dim=dims, keepdim=True))
    return share * level + (1 - share) * mixed
