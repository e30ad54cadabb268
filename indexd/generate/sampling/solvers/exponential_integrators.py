"""Exponential integrators on the clean latents beyond DPM-Solver++: RES, SEEDS, exponential Heun and ER-SDE.

phi_1(z) = (e^z - 1) / z and phi_2(z) = (phi_1(z) - 1) / z are the functions of Hochbruck and Ostermann, "Exponential
integrators" (Acta Numerica 2010); h is the step in lambda = -log sigma.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from indexd.generate.sampling.solver_run import SolverRun, ancestral_step, log_snr, slope

_INTEGRATION_POINTS = 200
_Level = TypeVar("_Level", float, NDArray[np.float64])


def _phi_1(z: float) -> float:
    return math.expm1(z) / z


def _phi_2(z: float) -> float:
    return (_phi_1(z) - 1) / z


def res_multistep(run: SolverRun) -> Iterator[torch.Tensor]:
    """Refined exponential solver, two evaluations remembered (Zhang et al., arXiv 2308.02157)."""
    yield from _res_multistep(run, noisy=False, cfg_pp=False)


def res_multistep_ancestral(run: SolverRun) -> Iterator[torch.Tensor]:
    """The same with ancestral noise."""
    yield from _res_multistep(run, noisy=True, cfg_pp=False)


def res_multistep_cfg_pp(run: SolverRun) -> Iterator[torch.Tensor]:
    """The same with CFG++ (arXiv 2406.08070)."""
    yield from _res_multistep(run, noisy=False, cfg_pp=True)


def res_multistep_ancestral_cfg_pp(run: SolverRun) -> Iterator[torch.Tensor]:
    """The same with ancestral noise and CFG++."""
    yield from _res_multistep(run, noisy=True, cfg_pp=True)


def _res_multistep(run: SolverRun, *, noisy: bool, cfg_pp: bool) -> Iterator[torch.Tensor]:
    x, before, back = run.latents, None, 0.0
    for sigma, target in run.sigma_pairs():
        clean, own = run.model.with_negative(x, sigma) if cfg_pp else (run.model(x, sigma),) * 2
        if target == 0:
            yield clean
            return
        down, up = ancestral_step(sigma, target) if noisy else (target, 0.0)
        if before is None:
            x = clean + slope(x, sigma, own) * down
        else:
            h = log_snr(down) - log_snr(sigma)
            older = _phi_2(-h) * h / back
            newer = _phi_1(-h) - older
            # With CFG++ the state is moved by what guidance adds; otherwise the two are the same.
            x = math.exp(-h) * (x + (clean - own)) + h * (newer * own + older * before)
        if noisy:
            x = x + run.noise(sigma, target) * up
        # ComfyUI counts from where the last step went down to, before its noise.
        before, back = own, log_snr(sigma) - log_snr(down)
        yield x


def exp_heun_2_x0(run: SolverRun) -> Iterator[torch.Tensor]:
    """Exponential Heun in the clean latents: its mean over the step from both ends (order 2)."""
    yield from _seeds(run, (1.0,), eta=0.0, exact=True)


def exp_heun_2_x0_sde(run: SolverRun) -> Iterator[torch.Tensor]:
    """The same with noise."""
    yield from _seeds(run, (1.0,), eta=1.0, exact=True)


def seeds_2(run: SolverRun) -> Iterator[torch.Tensor]:
    """SEEDS of two stages (Gonzalez et al., arXiv 2305.14267), in the clean latents: a middle stage, then the step with
    its clean latents."""
    yield from _seeds(run, (0.5,), eta=1.0, exact=False)


def seeds_3(run: SolverRun) -> Iterator[torch.Tensor]:
    """SEEDS of three stages, at a third and two thirds of the step."""
    yield from _seeds(run, (1 / 3, 2 / 3), eta=1.0, exact=True)


def _seeds(run: SolverRun, stages: Sequence[float], *, eta: float, exact: bool) -> Iterator[torch.Tensor]:
    """Stages at shares of the step, each an exponential step from its start with all noise up to there.

    `exact` weighs first and last evaluation by phi_2, otherwise the step takes the middle stage's clean latents alone.
    """
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        if target == 0:
            yield clean
            return
        h = log_snr(target) - log_snr(sigma)
        noise = _StageNoise(run, sigma, h, eta)
        mean, reached = clean, clean
        for place, share in enumerate((*stages, 1.0)):
            if place > 0:
                before = stages[place - 1]
                weight = _phi_2_ratio(-share * h * (1 + eta)) * share / before if exact else share / (2 * before)
                mean = torch.lerp(clean, reached, weight)
            level = math.exp(-(log_snr(sigma) + share * h))
            kept = (level / sigma) * math.exp(-share * h * eta)
            stage = kept * x - math.expm1(-share * h * (1 + eta)) * mean + noise.up_to(share, level)
            if place < len(stages):
                reached = run.model(stage, level)
            else:
                x = stage
        yield x


def _phi_2_ratio(z: float) -> float:
    """phi_2(z) / phi_1(z): how much of a change over the step its mean takes."""
    return _phi_2(z) / _phi_1(z)


class _StageNoise:
    """The noise of one step's stages: the noise of one stage stays in the next, weaker, and new noise is added."""

    def __init__(self, run: SolverRun, sigma: float, h: float, eta: float) -> None:
        self._run, self._h, self._eta = run, h, eta
        self._share, self._level = 0.0, sigma
        self._unit: torch.Tensor | float = 0.0

    def up_to(self, share: float, level: float) -> torch.Tensor | float:
        if self._eta == 0:
            return self._unit * level
        # Also for a stage at the same place, whose new noise weighs nothing: ComfyUI draws there too.
        step = (share - self._share) * self._h * self._eta
        fresh = self._run.noise(self._level, level) * math.sqrt(-math.expm1(-2 * step))
        self._unit = self._unit * math.exp(-step) + fresh
        self._share, self._level = share, level
        return self._unit * level


def er_sde(run: SolverRun) -> Iterator[torch.Tensor]:
    """Extended reverse-time SDE of order 3 (Cui et al., arXiv 2309.06169), with the paper's noise function
    phi(s) = s (exp(s^0.3) + 10)."""
    x = run.latents
    seen: list[tuple[float, torch.Tensor]] = []
    changes: list[torch.Tensor] = []
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        if target == 0:
            yield clean
            return
        ratio = _er_noise_scale(target) / _er_noise_scale(sigma)
        x = ratio * x + (1 - ratio) * clean
        step = target - sigma
        places = target - step * np.arange(_INTEGRATION_POINTS) / _INTEGRATION_POINTS
        width = -step / _INTEGRATION_POINTS
        if seen:
            change = (clean - seen[0][1]) / (sigma - seen[0][0])
            x = x + (step + _er_noise_scale(target) * width * float(np.sum(1 / _er_noise_scale(places)))) * change
            if len(seen) > 1:
                bend = (change - changes[0]) / ((sigma - seen[1][0]) / 2)
                moment = width * float(np.sum((places - sigma) / _er_noise_scale(places)))
                x = x + (step**2 / 2 + _er_noise_scale(target) * moment) * bend
            changes = [change]
        x = x + run.noise(sigma, target) * math.sqrt(max(target**2 - (sigma * ratio) ** 2, 0.0))
        seen = [(sigma, clean), *seen[:1]]
        yield x


def _er_noise_scale(level: _Level) -> _Level:
    scaled: _Level = level * (np.exp(level**0.3) + 10.0)
    return scaled
