"""Steps taken by a sampler of ours over noise levels: the guided UNet as a denoiser, and a run with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from indexd.generate.diffusion.guidance import GuidedModel
from indexd.generate.sampling.inpaint_mask import InpaintMask
from indexd.generate.sampling.native_samplers import SamplerEntry
from indexd.generate.sampling.noise_levels import NoiseLevels
from indexd.generate.sampling.sampling_noise import BrownianNoise, IndependentNoise
from indexd.generate.sampling.sigma_schedules import build_sigmas
from indexd.generate.sampling.solver_run import SolverRun
from indexd.generate.sdxl.text_encoding import StepPosition

# Where a sampler has no schedule of its own, only the two ends matter.
_DEFAULT_SCHEDULE = "exponential"


class SigmaRun:
    """`steps` steps over a schedule, the last `int(steps * strength)` of them where there is a picture to start from."""

    def __init__(
        self, entry: SamplerEntry, schedule: str | None, steps: int, strength: float, levels: NoiseLevels
    ) -> None:
        self._entry = entry
        self._levels = levels
        spread = build_sigmas(
            schedule or _DEFAULT_SCHEDULE, levels, steps, discard_penultimate=entry.discard_penultimate
        )
        self.sigmas = spread[steps - min(int(steps * strength), steps) :]

    def __len__(self) -> int:
        """How many steps there are; samplers that choose their own make more or fewer."""
        return len(self.sigmas) - 1

    def initial_latents(self, latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        """Where the first step starts, in float32: noise alone as strong as a noisy picture, or latents with noise."""
        if latents is None:
            return noise.float() * (1 + self.sigmas[0] ** 2) ** 0.5
        return latents.float() + noise.float() * self.sigmas[0]

    def run(
        self,
        guided: GuidedModel,
        latents: torch.Tensor,
        noise: torch.Tensor,
        rng: torch.Generator,
        inpaint_mask: InpaintMask | None,
    ) -> Iterator[torch.Tensor]:
        """The latents after each step, in the UNet's number format."""
        model = UnetDenoiser(guided, self._levels, self.sigmas, noise, inpaint_mask)
        path = (
            BrownianNoise(rng, latents, self._levels.sigma_min / 2, self._levels.sigma_max)
            if self._entry.uses_brownian_noise
            else None
        )
        run = SolverRun(model, latents, self.sigmas, path or IndependentNoise(rng, latents), self._levels)
        for reached in self._entry.sample(run):
            yield (
                reached if inpaint_mask is None else inpaint_mask.restore_original(reached, inpaint_mask.original)
            ).to(noise.dtype)


@dataclass(frozen=True, slots=True)
class UnetDenoiser:
    """The UNet as the samplers ask it: noisy latents at a level -> clean ones, in float32.

    What a mask keeps is set to the original at that level before it is looked at, and is the original in the answer.
    """

    guided: GuidedModel
    levels: NoiseLevels
    sigmas: tuple[float, ...]
    noise: torch.Tensor
    inpaint_mask: InpaintMask | None

    def __call__(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """The guided clean latents."""
        return self._predict(latents, sigma)[0]

    def with_negative(self, latents: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The guided clean latents and those of the negative text alone (the guided ones where there is none)."""
        clean, negative = self._predict(latents, sigma)
        return clean, clean if negative is None else negative

    def _predict(self, latents: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self.inpaint_mask is not None:
            original = self.inpaint_mask.original.float() + self.noise.float() * sigma
            latents = self.inpaint_mask.restore_original(latents, original)
        timestep = torch.tensor(self.levels.timestep(sigma), device=latents.device, dtype=torch.float32)
        scaled = (latents / (sigma**2 + 1) ** 0.5).to(self.noise.dtype)
        answers = self.guided.with_negative(scaled, timestep, self._step_position(sigma))
        clean, negative = (None if each is None else self._clean_outside_mask(each, latents, sigma) for each in answers)
        assert clean is not None
        return clean, negative

    def _clean_outside_mask(self, answer: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        clean = self.levels.predict_clean(answer.float(), latents, sigma)
        return (
            clean
            if self.inpaint_mask is None
            else self.inpaint_mask.restore_original(clean, self.inpaint_mask.original)
        )

    def _step_position(self, sigma: float) -> StepPosition:
        """The step in whose stretch of levels `sigma` lies, its upper end included."""
        steps = len(self.sigmas) - 1
        passed = sum(level >= sigma for level in self.sigmas[1:])
        return StepPosition(min(passed, steps - 1), steps)
