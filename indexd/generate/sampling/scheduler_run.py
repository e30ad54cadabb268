"""Steps taken by a diffusers scheduler: bit for bit what the SDXL pipelines of diffusers do with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from indexd.generate.diffusion.guidance import GuidedModel
from indexd.generate.sampling.inpaint_mask import InpaintMask
from indexd.generate.sdxl.text_encoding import StepPosition


class SchedulerRun:
    """`steps` steps with a fresh scheduler, the last `int(steps * strength)` of them where there is a picture to start from."""

    def __init__(self, scheduler: Any, steps: int, strength: float, device: torch.device) -> None:
        self._scheduler = scheduler
        scheduler.set_timesteps(steps, device=device)
        skipped = (steps - min(int(steps * strength), steps)) * scheduler.order
        self._timesteps = scheduler.timesteps[skipped:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)

    def __len__(self) -> int:
        """How often the UNet is asked."""
        return len(self._timesteps)

    def initial_latents(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        """Where the first step starts: noise alone, or latents with the noise of that step."""
        if latents is None:
            started: torch.Tensor = noise * self._scheduler.init_noise_sigma
            return started
        return self._add_noise(latents, noise, 0)

    def run(
        self,
        guided: GuidedModel,
        latents: torch.Tensor,
        noise: torch.Tensor,
        rng: torch.Generator,
        inpaint_mask: InpaintMask | None,
    ) -> Iterator[torch.Tensor]:
        """The latents after each step."""
        scheduler = self._scheduler
        takes = inspect.signature(scheduler.step).parameters
        more = {"generator": rng} if "generator" in takes else {}
        if "eta" in takes:
            more["eta"] = 0.0
        for index, timestep in enumerate(self._timesteps):
            moment = StepPosition(index // scheduler.order, -(-len(self) // scheduler.order))
            answer = guided(scheduler.scale_model_input(latents, timestep), timestep, moment)
            latents = scheduler.step(answer, timestep, latents, **more, return_dict=False)[0]
            if inpaint_mask is not None:
                latents = inpaint_mask.restore_original(
                    latents, self._add_noise(inpaint_mask.original, noise, index + 1)
                )
            yield latents

    def _add_noise(self, latents: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        if index == len(self):
            return latents
        noised: torch.Tensor = self._scheduler.add_noise(latents, noise, self._timesteps[index : index + 1])
        return noised
