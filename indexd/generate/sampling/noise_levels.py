"""The noise levels that a model was trained at: level <-> time step, and what its answer means there."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray

from indexd.generate.sampling.diffusers_schedulers import TrainedNoise


class NoiseLevels:
    """All levels of one kind of training, rising with the time step."""

    def __init__(self, noise: TrainedNoise) -> None:
        self.prediction_type = noise.prediction_type
        kept = _alphas_cumprod(noise)
        self.sigmas: NDArray[np.float64] = np.sqrt((1 - kept) / kept)
        self._log_sigmas = np.log(self.sigmas)
        self._timesteps = np.arange(len(kept), dtype=np.float64)

    @property
    def sigma_min(self) -> float:
        """The smallest level above 0."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The level of the last time step."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        """The time step (between two trained ones where needed) of a level; levels outside are the nearest inside."""
        return float(np.interp(math.log(sigma), self._log_sigmas, self._timesteps))

    def sigma(self, timestep: float) -> float:
        """The level of a time step, between two trained ones on a straight line of logarithms."""
        return float(np.exp(np.interp(timestep, self._timesteps, self._log_sigmas)))

    def sigma_at_share(self, share: float) -> float:
        """The level after `share` (0..1) of the time steps, counted from the noisiest."""
        return self.sigma((1 - share) * (len(self._timesteps) - 1))

    def predict_clean(self, answer: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """The clean latents that the UNet's answer for `latents` at `sigma` means."""
        if self.prediction_type == "sample":
            return answer
        if self.prediction_type == "v_prediction":
            # v = alpha * noise - sigma' * clean with alpha = 1 / sqrt(sigma^2 + 1) (appendix D of arXiv 2202.00512).
            return latents / (sigma**2 + 1) - answer * (sigma / math.sqrt(sigma**2 + 1))
        return latents - answer * sigma


@lru_cache(maxsize=8)
def noise_levels_for(noise: TrainedNoise) -> NoiseLevels:
    """The levels of a model's training."""
    return NoiseLevels(noise)


def _alphas_cumprod(noise: TrainedNoise) -> NDArray[np.float64]:
    """The share of signal power at each time step, from the same table of betas as the schedulers'."""
    scheduler = DDIMScheduler(**noise.scheduler_kwargs(), rescale_betas_zero_snr=noise.zero_terminal_snr)
    kept = scheduler.alphas_cumprod.double().numpy().copy()
    if noise.zero_terminal_snr:
        # No signal at all would be an infinite level; the schedulers of diffusers stop here as well.
        kept[-1] = 2.0**-24
    return np.asarray(kept, dtype=np.float64)
