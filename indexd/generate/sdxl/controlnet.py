"""ControlNets at work: what they add to the UNet at one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.guided_unet import UnetCall


@dataclass(frozen=True, slots=True)
class ControlInput:
    """One control map (1, 3, height, width), 0 to 1, its strength, and the range in which it is active.

    `start` and `end` are shares of the model's time steps, counted from pure noise. `union_index` is the map's type in a union.
    """

    pixels: torch.Tensor
    strength: float
    start: float = 0.0
    end: float = 1.0
    union_index: int = 0

    def is_active_at(self, position: StepPosition) -> bool:
        """Whether it is active at this evaluation: decided by the noise level, as in ComfyUI."""
        # A level can be the lowest one there is; with start 1 a control is active nowhere.
        return self.start < 1 and self.start <= position.time_share <= self.end


@dataclass(frozen=True, slots=True)
class ControlNetHook:
    """One plain ControlNet with one map."""

    net: Any
    control: ControlInput

    def apply(self, call: UnetCall) -> None:
        """Adds its residuals in its own steps."""
        if not self.control.is_active_at(call.position):
            return
        with torch.no_grad():
            down, middle = self.net(
                call.latents,
                call.timestep,
                encoder_hidden_states=call.hidden,
                controlnet_cond=self.control.pixels.expand(len(call.latents), -1, -1, -1),
                conditioning_scale=self.control.strength,
                added_cond_kwargs={"text_embeds": call.pooled, "time_ids": call.time_ids},
                return_dict=False,
            )
        call.add_residuals(down, middle)


@dataclass(frozen=True, slots=True)
class ControlNetUnionHook:
    """A ControlNet-union with all of its maps, which it looks at together."""

    net: Any
    controls: Sequence[ControlInput]

    def apply(self, call: UnetCall) -> None:
        """Adds the residuals of those maps that work in this step."""
        working = [control for control in self.controls if control.is_active_at(call.position)]
        if not working:
            return
        rows = len(call.latents)
        indexes = [control.union_index for control in working]
        kinds = torch.zeros(
            rows, self.net.config.num_control_type, device=call.latents.device, dtype=call.latents.dtype
        )
        kinds[:, indexes] = 1
        with torch.no_grad():
            down, middle = self.net(
                call.latents,
                call.timestep,
                encoder_hidden_states=call.hidden,
                controlnet_cond=[control.pixels.expand(rows, -1, -1, -1) for control in working],
                control_type=kinds,
                control_type_idx=indexes,
                conditioning_scale=[control.strength for control in working],
                added_cond_kwargs={"text_embeds": call.pooled, "time_ids": call.time_ids},
                return_dict=False,
            )
        call.add_residuals(down, middle)
