"""What a sampler is given, and the few formulas that most samplers share.

Latents are `clean + sigma * unit noise` at noise level sigma (k-diffusion's form; Karras et al., arXiv 2206.00364). A sampler is
a generator: it yields the latents after each of its steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from indexd.generate.sampling.noise_levels import NoiseLevels
from indexd.generate.sampling.sampling_noise import SamplerNoise


class DenoisingModel(Protocol):
    """The guided model as a denoiser."""

    def __call__(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """The clean latents that it predicts from `latents` at noise level `sigma`."""
        ...

    def with_negative(self, latents: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and those predicted for the negative text alone (for CFG++)."""
        ...


@dataclass(frozen=True, slots=True)
class SolverRun:
    """One run: from `latents` at noise level `sigmas[0]` down to the last, usually 0."""

    model: DenoisingModel
    latents: torch.Tensor
    sigmas: tuple[float, ...]
    noise: SamplerNoise
    levels: NoiseLevels

    def sigma_pairs(self) -> list[tuple[float, float]]:
        """From which level to which, for every step."""
        return list(zip(self.sigmas, self.sigmas[1:], strict=False))


SolverFunction = Callable[[SolverRun], Iterator[torch.Tensor]]


def slope(latents: torch.Tensor, sigma: float, clean: torch.Tensor) -> torch.Tensor:
    """d latents / d sigma of the probability flow: the noise direction."""
    return (latents - clean) / sigma


def ancestral_step(sigma: float, target: float) -> tuple[float, float]:
    """(down, up): step down to `down`, then add `up` times unit noise, which ends at noise level `target`."""
    up = min(target, math.sqrt(target**2 * (sigma**2 - target**2) / sigma**2))
    return math.sqrt(max(target**2 - up**2, 0.0)), up


def log_snr(sigma: float) -> float:
    """lambda = -log sigma, the time in which exponential integrators step."""
    return -math.log(sigma)
