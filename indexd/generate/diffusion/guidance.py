"""The UNet with everything that is mixed at one evaluation: texts, guidance, and whatever else bears on it.

Every way of taking steps asks here and nowhere else. A ControlNet or an IP-Adapter is an `Influence`: it sees the call
before it is made and adds to it; the loop knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from indexd.generate.sdxl.text_encoding import StepConditioning, StepPosition, TextConditioning


@dataclass(slots=True)
class UnetCall:
    """One evaluation of the UNet before it is made. Row 0 is the negative one where there is one (`guided`).

    `latents` (rows, 4, h, w) as the UNet takes them; `hidden` (rows, tokens, width), `pooled` (rows, width) and `time_ids`
    (rows, 6) are its texts and SDXL's micro-conditioning. `down`, `middle` and `image_embeds` are what influences added.
    """

    latents: torch.Tensor
    timestep: torch.Tensor
    hidden: torch.Tensor
    pooled: torch.Tensor
    time_ids: torch.Tensor
    guided: bool
    position: StepPosition
    down_residuals: list[torch.Tensor] | None = None
    mid_residual: torch.Tensor | None = None
    image_embeds: list[torch.Tensor] = field(default_factory=list)

    def add_residuals(self, down: Sequence[torch.Tensor], middle: torch.Tensor) -> None:
        """Adds to the UNet's down blocks and its middle; several ControlNets add up."""
        self.down_residuals = (
            list(down)
            if self.down_residuals is None
            else [old + new for old, new in zip(self.down_residuals, down, strict=True)]
        )
        self.mid_residual = middle if self.mid_residual is None else self.mid_residual + middle


class UnetHook(Protocol):
    """Something beside the texts that bears on the UNet: a ControlNet, an IP-Adapter."""

    def apply(self, call: UnetCall) -> None:
        """Adds to `call`, or leaves it alone at moments that are not its own."""
        ...


class GuidedModel(Protocol):
    """What a run of steps asks: the guided answer for latents at a time step."""

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition) -> torch.Tensor:
        """The guided answer alone."""
        ...

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The guided answer and the one for the negative text alone (None where the run is not guided)."""
        ...


@dataclass(frozen=True, slots=True)
class GuidedUnet:
    """The guided UNet of one run.

    `cfg` is the weight of classifier-free guidance, `rescale` (0..1) how much of its gain in contrast is taken back,
    `size` (height, width) in pixels what SDXL is told about the picture.
    """

    unet: Any
    conditioning: TextConditioning
    cfg: float
    rescale: float
    size: tuple[int, int]
    hooks: tuple[UnetHook, ...] = ()

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition) -> torch.Tensor:
        """The UNet's answer, guided, for latents (1, 4, h, w) scaled for it; what it means is the prediction type's."""
        return self.with_negative(latents, timestep, position)[0]

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The guided answer and the one for the negative text alone (None where the run is not guided)."""
        told = self.conditioning.at_step(position)
        call = self._build_call(told, latents, timestep, position)
        for influence in self.hooks:
            influence.apply(call)
        rows = self._run_unet(call).split(1)
        negative = rows[0] if call.guided else None
        return self._combine(told, rows[call.guided :], negative), negative

    def _build_call(
        self, step_conditioning: StepConditioning, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> UnetCall:
        texts = [text for text, _weight in step_conditioning.positive]
        # A UNet distilled with guidance is told the cfg itself and never asked for the negative.
        guided = step_conditioning.negative is not None and self.unet.config.time_cond_proj_dim is None
        if step_conditioning.negative is not None and guided:
            texts.insert(0, step_conditioning.negative)
        hidden = torch.cat([text.hidden for text in texts]).to(latents.device)
        # SDXL's micro-conditioning (section 2.2 of arXiv 2307.01952): a picture made for this size, not cropped.
        time_ids = torch.tensor([[*self.size, 0, 0, *self.size]] * len(texts), dtype=hidden.dtype)
        return UnetCall(
            latents=torch.cat([latents] * len(texts)),
            timestep=timestep,
            hidden=hidden,
            pooled=torch.cat([text.pooled for text in texts]).to(latents.device),
            time_ids=time_ids.to(latents.device),
            guided=guided,
            position=position,
        )

    def _run_unet(self, call: UnetCall) -> torch.Tensor:
        added: dict[str, Any] = {"text_embeds": call.pooled, "time_ids": call.time_ids}
        if call.image_embeds:
            added["image_embeds"] = call.image_embeds
        with torch.no_grad():
            answer: torch.Tensor = self.unet(
                call.latents,
                call.timestep,
                encoder_hidden_states=call.hidden,
                timestep_cond=self._cfg_embedding(call),
                added_cond_kwargs=added,
                down_block_additional_residuals=call.down_residuals,
                mid_block_additional_residual=call.mid_residual,
                return_dict=False,
            )[0]
        return answer

    def _cfg_embedding(self, call: UnetCall) -> torch.Tensor | None:
        """cfg as sines and cosines for a UNet that was distilled with it (section 4 of arXiv 2210.03142)."""
        width = self.unet.config.time_cond_proj_dim
        if width is None:
            return None
        half = width // 2
        pace = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10_000.0)) / (half - 1)))
        waves = 1000.0 * (self.cfg - 1) * pace
        padded = torch.nn.functional.pad(torch.cat([waves.sin(), waves.cos()]), (0, width % 2))
        return padded.expand(len(call.latents), -1).to(call.latents)

    def _combine(
        self, step_conditioning: StepConditioning, positive: Sequence[torch.Tensor], negative: torch.Tensor | None
    ) -> torch.Tensor:
        weights = [weight for _text, weight in step_conditioning.positive]
        if negative is None:
            return positive[0] if len(positive) == 1 else _weighted_mean(positive, weights)
        mixed = negative
        for answer, weight in zip(positive, weights, strict=True):
            mixed = mixed + (self.cfg * weight) * (answer - negative)
        if self.rescale > 0:
            text = positive[0] if len(positive) == 1 else _weighted_mean(positive, weights)
            mixed = _rescale_std(mixed, text, self.rescale)
        return mixed


def _weighted_mean(rows: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    total = sum(weights) or 1.0
    return torch.stack([row * (weight / total) for row, weight in zip(rows, weights, strict=True)]).sum(0)


def _rescale_std(mixed: torch.Tensor, text: torch.Tensor, share: float) -> torch.Tensor:
    """Guidance brought back to the spread of the text's own answer (section 3.4 of arXiv 2305.08891)."""
    dims = list(range(1, mixed.ndim))
    level = mixed * (text.std(dim=dims, keepdim=True) / mixed.std(dim=dims, keepdim=True))
    return share * level + (1 - share) * mixed
