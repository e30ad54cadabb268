"""One-step samplers without memory: DDPM and LCM."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from indexd.generate.sampling.solver_run import SolverRun


def ddpm(run: SolverRun) -> Iterator[torch.Tensor]:
    """The posterior of Ho et al. (arXiv 2006.11239, equations 6 and 7), written for levels: its mean and its spread."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        if target == 0:
            yield clean
            return
        share = (target / sigma) ** 2
        spread = target * math.sqrt(1 - share)
        x = clean + share * (x - clean) + run.noise(sigma, target) * spread
        yield x


def lcm(run: SolverRun) -> Iterator[torch.Tensor]:
    """Latent consistency (Luo et al., arXiv 2310.04378): straight to the clean latents, and noise of the next level."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        x = run.model(x, sigma)
        if target > 0:
            x = x + run.noise(sigma, target) * target
        yield x
