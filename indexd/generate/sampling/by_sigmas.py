"""Steps taken by a sampler of ours over noise levels: the guided UNet as a denoiser, and a run with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from indexd.generate.guidance import Guides
from indexd.generate.levels import Levels
from indexd.generate.sampling.inpaint import Kept
from indexd.generate.sampling.noise import Brownian, Fresh
from indexd.generate.sampling.registry import Entry
from indexd.generate.sampling.run import Run
from indexd.generate.schedules import sigmas
from indexd.generate.text import Moment

# Where a sampler has no schedule of its own, only the two ends matter.
_ENDS = "exponential"


class SigmaRun:
    """`steps` steps over a schedule, the last `int(steps * strength)` of them where there is a picture to start from."""

    def __init__(self, entry: Entry, schedule: str | None, steps: int, strength: float, levels: Levels) -> None:
        self._entry = entry
        self._levels = levels
        spread = sigmas(schedule or _ENDS, levels, steps, skip_last_but_one=entry.skip_last_but_one)
        self.sigmas = spread[steps - min(int(steps * strength), steps) :]

    def __len__(self) -> int:
        """How many steps there are; samplers that choose their own make more or fewer."""
        return len(self.sigmas) - 1

    def begin(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        """Where the first step starts, in float32: noise alone as strong as a noisy picture, or latents with noise."""
        if latents is None:
            return noise.float() * (1 + self.sigmas[0] ** 2) ** 0.5
        return latents.float() + noise.float() * self.sigmas[0]

    def run(
        self, guided: Guides, latents: torch.Tensor, noise: torch.Tensor, chance: torch.Generator, kept: Kept | None
    ) -> Iterator[torch.Tensor]:
        """The latents after each step, in the UNet's number format."""
        model = Denoiser(guided, self._levels, self.sigmas, noise, kept)
        path = (
            Brownian(chance, latents, self._levels.lowest / 2, self._levels.highest) if self._entry.brownian else None
        )
        run = Run(model, latents, self.sigmas, path or Fresh(chance, latents), self._levels)
        for reached in self._entry.steps(run):
            yield (reached if kept is None else kept.put_back(reached, kept.original)).to(noise.dtype)


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The UNet as the samplers ask it: noisy latents at a level -> clean ones, in float32.

    What a mask keeps is set to the original at that level before it is looked at, and is the original in the answer.
    """

    guided: Guides
    levels: Levels
    sigmas: tuple[float, ...]
    noise: torch.Tensor
    kept: Kept | None

    def __call__(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """The guided clean latents."""
        return self._cleaned(latents, sigma)[0]

    def both(self, latents: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The guided clean latents and those of the negative text alone (the guided ones where there is none)."""
        clean, negative = self._cleaned(latents, sigma)
        return clean, clean if negative is None else negative

    def _cleaned(self, latents: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self.kept is not None:
            original = self.kept.original.float() + self.noise.float() * sigma
            latents = self.kept.put_back(latents, original)
        timestep = torch.tensor(self.levels.timestep(sigma), device=latents.device, dtype=torch.float32)
        scaled = (latents / (sigma**2 + 1) ** 0.5).to(self.noise.dtype)
        answers = self.guided.both(scaled, timestep, self._moment(sigma))
        clean, negative = (None if each is None else self._clean(each, latents, sigma) for each in answers)
        assert clean is not None
        return clean, negative

    def _clean(self, answer: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        clean = self.levels.clean(answer.float(), latents, sigma)
        return clean if self.kept is None else self.kept.put_back(clean, self.kept.original)

    def _moment(self, sigma: float) -> Moment:
        """The step in whose stretch of levels `sigma` lies, its upper end included."""
        steps = len(self.sigmas) - 1
        passed = sum(level >= sigma for level in self.sigmas[1:])
        return Moment(min(passed, steps - 1), steps)
