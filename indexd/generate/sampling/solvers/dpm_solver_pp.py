"""DPM-Solver++ (Lu et al., arXiv 2211.01095): exponential integrators on the clean latents, and their SDE forms.

h is the step in lambda = -log sigma. The SDE forms add noise as k-diffusion does: a step of length h (1 + eta) with the
noise of the excess; here eta = 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from indexd.generate.sampling.solver_run import SolverRun, ancestral_step, log_snr, slope


def _exponential_step(x: torch.Tensor, clean: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    """The exponential Euler step: exact where the clean latents do not change."""
    return (target / sigma) * x + (1 - target / sigma) * clean


def dpmpp_2s_ancestral(run: SolverRun) -> Iterator[torch.Tensor]:
    """Two evaluations a step, the second in its middle; ancestral noise."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        down, up = ancestral_step(sigma, target)
        if target == 0:
            x = clean
        else:
            middle = math.sqrt(sigma * down)
            half = _exponential_step(x, clean, sigma, middle)
            x = _exponential_step(x, run.model(half, middle), sigma, down) + run.noise(sigma, target) * up
        yield x


def dpmpp_2s_ancestral_cfg_pp(run: SolverRun) -> Iterator[torch.Tensor]:
    """CFG++ of the same (arXiv 2406.08070), as ComfyUI has it: guidance moves the latents from which each part of the step
    starts, and the step integrates the guided clean latents."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean, unguided = run.model.with_negative(x, sigma)
        down, up = ancestral_step(sigma, target)
        if down == 0:
            x = clean
        else:
            middle = math.sqrt(sigma * down)
            half = _exponential_step(x + (clean - unguided), clean, sigma, middle)
            inner, inner_unguided = run.model.with_negative(half, middle)
            # ComfyUI takes the first guided and the second unguided latents here.
            x = _exponential_step(x + (clean - inner_unguided), inner, sigma, down)
        if target > 0:
            x = x + run.noise(sigma, target) * up
        yield x


def dpmpp_sde(run: SolverRun) -> Iterator[torch.Tensor]:
    """Two evaluations a step, noise at the middle and at the end."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        if target == 0:
            x = clean
        else:
            middle = math.sqrt(sigma * target)
            down, up = ancestral_step(sigma, middle)
            half = _exponential_step(x, clean, sigma, down) + run.noise(sigma, middle) * up
            inner = run.model(half, middle)
            down, up = ancestral_step(sigma, target)
            x = _exponential_step(x, inner, sigma, down) + run.noise(sigma, target) * up
        yield x


def dpmpp_2m(run: SolverRun) -> Iterator[torch.Tensor]:
    """One evaluation a step; the change since the last one is extrapolated."""
    x, before, length = run.latents, run.latents, 0.0
    for index, (sigma, target) in enumerate(run.sigma_pairs()):
        clean = run.model(x, sigma)
        if target == 0:
            x = clean
        else:
            last, length = length, log_snr(target) - log_snr(sigma)
            carried = clean if index == 0 else clean + (clean - before) * (length / (2 * last))
            x = _exponential_step(x, carried, sigma, target)
        before = clean
        yield x


def dpmpp_2m_cfg_pp(run: SolverRun) -> Iterator[torch.Tensor]:
    """CFG++ of the same, as ComfyUI has it: the guided clean latents, the unguided noise, and the extrapolated change."""
    x, before, length = run.latents, run.latents, 0.0
    for index, (sigma, target) in enumerate(run.sigma_pairs()):
        clean, unguided = run.model.with_negative(x, sigma)
        if target == 0:
            x = clean
        else:
            last, length = length, log_snr(target) - log_snr(sigma)
            moved = clean + slope(x, sigma, unguided) * target
            share = 0.0 if index == 0 else (1 - target / sigma) * length / (2 * last)
            x = moved + share * (clean - before)
        before = unguided
        yield x


def dpmpp_2m_sde(run: SolverRun) -> Iterator[torch.Tensor]:
    """2M with noise; the change is extrapolated to the middle of the step."""
    yield from _multistep_sde(run, order=2, heun=False)


def dpmpp_2m_sde_heun(run: SolverRun) -> Iterator[torch.Tensor]:
    """2M with noise; the change is extrapolated over the whole step (Heun's weight)."""
    yield from _multistep_sde(run, order=2, heun=True)


def dpmpp_3m_sde(run: SolverRun) -> Iterator[torch.Tensor]:
    """Three evaluations remembered, with noise."""
    yield from _multistep_sde(run, order=3, heun=True)


def _multistep_sde(run: SolverRun, *, order: int, heun: bool) -> Iterator[torch.Tensor]:
    x = run.latents
    # (clean, lambda) of the last evaluations, the newest first
    seen: list[tuple[torch.Tensor, float]] = []
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        if target == 0:
            yield clean
            return
        seen = [(clean, log_snr(sigma)), *seen[: order - 1]]
        length = log_snr(target) - log_snr(sigma)
        doubled = 2 * length
        x = (target / sigma) * math.exp(-length) * x - math.expm1(-doubled) * clean
        if len(seen) > 1:
            x = x + _multistep_correction(seen, length, doubled, heun=heun)
        x = x + run.noise(sigma, target) * (target * math.sqrt(-math.expm1(-doubled)))
        yield x


def _multistep_correction(
    seen: list[tuple[torch.Tensor, float]], length: float, doubled: float, *, heun: bool
) -> torch.Tensor:
    """What the change of the clean latents adds to a step (equations of section 5 of arXiv 2211.01095)."""
    linear = math.expm1(-doubled) / doubled + 1 if heun else -math.expm1(-doubled) / 2
    (newest, at), (older, at_older) = seen[:2]
    ratio = (at - at_older) / length
    change = (newest - older) / ratio
    if len(seen) < 3:
        return linear * change
    oldest, at_oldest = seen[2]
    ratio_before = (at_older - at_oldest) / length
    change_before = (older - oldest) / ratio_before
    curve = (change - change_before) / (ratio + ratio_before)
    return linear * (change + curve * ratio) - (linear / doubled - 0.5) * curve
