"""One run of a sampler: its noise levels, the model as a denoiser, and the latents after each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from indexd.generate.diffusion.guidance import GuidedModel
from indexd.generate.sampling.inpaint_mask import InpaintMask
from indexd.generate.sampling.noise_levels import NoiseLevels
from indexd.generate.sampling.noise_source import LevelRange, NoiseSource
from indexd.generate.sampling.sampler_functions import SAMPLER_FUNCTIONS
from indexd.generate.sampling.solver_run import SolverRun
from indexd.generate.sampling.step_position import StepPosition
from indexd_schemas.noise import TimestepRounding

# ComfyUI takes a first level this near to the highest one for the highest.
_HIGHEST_LEVEL_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class SamplingRun:
    """The sampler of a name over `sigmas`, which fall from the first level to the last, usually 0.

    `schedule_highest` is the first level of the schedule whose last part the run takes, and `planned_steps` the steps of that
    schedule over which texts switch (None = those of the run). For `timesteps` see `Denoiser`.
    """

    sampler: str
    sigmas: tuple[float, ...]
    levels: NoiseLevels
    schedule_highest: float | None = None
    timesteps: TimestepRounding = "interpolated"
    planned_steps: int | None = None

    def __len__(self) -> int:
        """How many steps the levels make; samplers that choose their own make more or fewer."""
        return len(self.sigmas) - 1

    def initial_latents(self, latents: torch.Tensor | None, noise: torch.Tensor, source: NoiseSource) -> torch.Tensor:
        """Noisy latents at the first level, in float32: `latents` (None = zeros) and as much of the unit `noise`."""
        sigma = self.sigmas[0]
        is_highest = sigma >= self.levels.sigma_max * (1 - _HIGHEST_LEVEL_TOLERANCE)
        at_unit_variance = source.starts_at_unit_variance(
            self.sampler, is_highest=is_highest, has_latents=latents is not None
        )
        noisy = noise.float() * ((1 + sigma**2) ** 0.5 if at_unit_variance else sigma)
        return noisy if latents is None else latents.float() + noisy

    def run(
        self,
        guided: GuidedModel,
        latents: torch.Tensor,
        noise: torch.Tensor,
        source: NoiseSource,
        inpaint_mask: InpaintMask | None,
    ) -> Iterator[torch.Tensor]:
        """The latents after each step, in the number format of `noise`, which is the model's."""
        entry = SAMPLER_FUNCTIONS[self.sampler]
        kept_noise = source.around_mask(self.sampler, noise) if inpaint_mask is not None else noise
        model = Denoiser(guided, self.levels, self.sigmas, kept_noise, inpaint_mask, self.timesteps, self.planned_steps)
        path = (
            source.brownian(latents, self._level_range()) if entry.uses_brownian_noise else source.independent(latents)
        )
        for reached in entry.sample(SolverRun(model, latents, self.sigmas, path, self.levels)):
            kept = reached if inpaint_mask is None else inpaint_mask.restore_original(reached, inpaint_mask.original)
            yield kept.to(noise.dtype)

    def _level_range(self) -> LevelRange:
        highest = self.sigmas[0]
        return LevelRange(min(level for level in self.sigmas if level > 0), highest, self.schedule_highest or highest)


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The guided model as samplers call it: noisy latents at a level -> clean ones, in float32.

    What a mask keeps is set to the original at that level before the evaluation, and is the original in the result.
    `timesteps` says what the model is told of a level between two trained ones.
    """

    guided: GuidedModel
    levels: NoiseLevels
    sigmas: tuple[float, ...]
    noise: torch.Tensor
    inpaint_mask: InpaintMask | None
    timesteps: TimestepRounding = "interpolated"
    planned_steps: int | None = None

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
        step = self.levels.timestep(sigma) if self.timesteps == "interpolated" else self.levels.trained_timestep(sigma)
        timestep = torch.tensor(step, device=latents.device, dtype=torch.float32)
        scaled = self.levels.scale_input(latents, sigma).to(self.noise.dtype)
        output, negative = self.guided.with_negative(scaled, timestep, self._step_position(sigma))
        return self._clean(output, latents, sigma), None if negative is None else self._clean(negative, latents, sigma)

    def _clean(self, output: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        clean = self.levels.predict_clean(output.float(), latents, sigma)
        if self.inpaint_mask is None:
            return clean
        return self.inpaint_mask.restore_original(clean, self.inpaint_mask.original)

    def _step_position(self, sigma: float) -> StepPosition:
        """The step in whose stretch of levels `sigma` lies, its upper end included."""
        steps = len(self.sigmas) - 1
        passed = sum(level >= sigma for level in self.sigmas[1:])
        return StepPosition(min(passed, steps - 1), self.planned_steps or steps, self.levels.time_share(sigma))
