"""SDXL's UNet with everything that joins in one evaluation: texts, guidance, ControlNets and IP-Adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from indexd.generate.diffusion.conditioning import StepConditioning, TextConditioning
from indexd.generate.diffusion.guidance import combine_guidance
from indexd.generate.sampling.step_position import StepPosition


@dataclass(slots=True)
class UnetCall:
    """One evaluation of the UNet before it is made. With `guided`, row 0 is the negative one.

    `latents` (rows, 4, h, w) as the UNet takes them; `hidden` (rows, tokens, width), `pooled` (rows, width) and `time_ids`
    (rows, 6) are its texts and SDXL's micro-conditioning. Hooks add residuals and `image_embeds`, and for an inpainting model
    `inpaint_channels` (1, 5, h, w): the mask and the latents of the image without what is under it.
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
    inpaint_channels: torch.Tensor | None = None

    def add_residuals(self, down: Sequence[torch.Tensor], middle: torch.Tensor) -> None:
        """Adds to the UNet's down blocks and its middle; several ControlNets add up."""
        self.down_residuals = (
            list(down)
            if self.down_residuals is None
            else [old + new for old, new in zip(self.down_residuals, down, strict=True)]
        )
        self.mid_residual = middle if self.mid_residual is None else self.mid_residual + middle


class UnetHook(Protocol):
    """A ControlNet or an IP-Adapter."""

    def apply(self, call: UnetCall) -> None:
        """Add to `call`, or leave it alone outside its range."""
        ...


@dataclass(frozen=True, slots=True)
class GuidedUnet:
    """The guided UNet of one run.

    `cfg` is the weight of classifier-free guidance, `rescale` (0..1) how much of its gain in contrast is taken back, `size`
    (height, width) in pixels the size in SDXL's micro-conditioning. `blank_channels` (1, 5, 1, 1) is what an inpainting model gets
    where nothing is kept; None = the UNet is none.
    """

    unet: Any
    conditioning: TextConditioning
    cfg: float
    rescale: float
    size: tuple[int, int]
    hooks: tuple[UnetHook, ...] = ()
    blank_channels: torch.Tensor | None = None

    def with_negative(
        self, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The guided output and the one for the negative text alone (None where the run is not guided)."""
        texts = self.conditioning.at_step(position)
        call = self._build_call(texts, latents, timestep, position)
        for hook in self.hooks:
            hook.apply(call)
        rows = self._run_unet(call).split(1)
        negative = rows[0] if call.guided else None
        output = combine_guidance(texts, rows[call.guided :], negative, cfg=self.cfg, rescale=self.rescale)
        return output, negative

    def for_part(self, conditioning: TextConditioning, size: tuple[int, int], hooks: Sequence[UnetHook]) -> GuidedUnet:
        """The same for a tile of the image."""
        return replace(self, conditioning=conditioning, size=size, hooks=tuple(hooks))

    def _build_call(
        self, step_conditioning: StepConditioning, latents: torch.Tensor, timestep: torch.Tensor, position: StepPosition
    ) -> UnetCall:
        texts = [text for text, _weight in step_conditioning.positive]
        # A UNet distilled with guidance takes the cfg as an input and never the negative text.
        guided = step_conditioning.negative is not None and self.unet.config.time_cond_proj_dim is None
        if step_conditioning.negative is not None and guided:
            texts.insert(0, step_conditioning.negative)
        hidden = torch.cat([text.hidden for text in texts]).to(latents.device)
        # SDXL's micro-conditioning (section 2.2 of arXiv 2307.01952): an image of this size, not cropped.
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
            output: torch.Tensor = self.unet(
                self._with_inpaint_channels(call),
                call.timestep,
                encoder_hidden_states=call.hidden,
                timestep_cond=self._cfg_embedding(call),
                added_cond_kwargs=added,
                down_block_additional_residuals=call.down_residuals,
                mid_block_additional_residual=call.mid_residual,
                return_dict=False,
            )[0]
        return output

    def _with_inpaint_channels(self, call: UnetCall) -> torch.Tensor:
        """The latents, for an inpainting model with mask and masked image behind them (rows, 9, h, w)."""
        if self.blank_channels is None:
            return call.latents
        beside = self.blank_channels if call.inpaint_channels is None else call.inpaint_channels
        rows, _, height, width = call.latents.shape
        return torch.cat([call.latents, beside.to(call.latents).expand(rows, -1, height, width)], dim=1)

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
