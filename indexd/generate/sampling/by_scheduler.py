"""Steps taken by a diffusers scheduler: bit for bit what the SDXL pipelines of diffusers do with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from indexd.generate.guidance import Guides
from indexd.generate.sampling.inpaint import Kept
from indexd.generate.text import Moment


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

    def begin(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        """Where the first step starts: noise alone, or latents with the noise of that step."""
        if latents is None:
            started: torch.Tensor = noise * self._scheduler.init_noise_sigma
            return started
        return self._noised(latents, noise, 0)

    def run(
        self, guided: Guides, latents: torch.Tensor, noise: torch.Tensor, chance: torch.Generator, kept: Kept | None
    ) -> Iterator[torch.Tensor]:
        """The latents after each step."""
        scheduler = self._scheduler
        takes = inspect.signature(scheduler.step).parameters
        more = {"generator": chance} if "generator" in takes else {}
        if "eta" in takes:
            more["eta"] = 0.0
        for index, timestep in enumerate(self._timesteps):
            moment = Moment(index // scheduler.order, -(-len(self) // scheduler.order))
            answer = guided(scheduler.scale_model_input(latents, timestep), timestep, moment)
            latents = scheduler.step(answer, timestep, latents, **more, return_dict=False)[0]
            if kept is not None:
                latents = kept.put_back(latents, self._noised(kept.original, noise, index + 1))
            yield latents

    def _noised(self, latents: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        if index == len(self):
            return latents
        noised: torch.Tensor = self._scheduler.add_noise(latents, noise, self._timesteps[index : index + 1])
        return noised
