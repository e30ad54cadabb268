"""DPM-Solver (Lu et al., arXiv 2206.00927): exponential integrators on the noise, at fixed and at chosen steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from indexd.generate.sampling.solver_run import SolverRun, ancestral_step, log_snr, slope

_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 0.05, 0.0078
_FIRST_STEP = 0.05
_MIN_ACCEPTED_FACTOR = 0.81


def dpm_2(run: SolverRun) -> Iterator[torch.Tensor]:
    """A step with the slope of its (geometric) middle: DPM-Solver-2 in the levels of arXiv 2206.00364."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        x = _midpoint(run, x, sigma, target)
        yield x


def dpm_2_ancestral(run: SolverRun) -> Iterator[torch.Tensor]:
    """The same to a lower level than the target, and back up with new noise."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        down, up = ancestral_step(sigma, target)
        x = _midpoint(run, x, sigma, down)
        if target > 0:
            x = x + run.noise(sigma, target) * up
        yield x


def _midpoint(run: SolverRun, x: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    clean = run.model(x, sigma)
    if target == 0:
        return clean
    middle = math.sqrt(sigma * target)
    half = x + slope(x, sigma, clean) * (middle - sigma)
    return x + slope(half, middle, run.model(half, middle)) * (target - sigma)


def dpm_fast(run: SolverRun) -> Iterator[torch.Tensor]:
    """DPM-Solver-fast: as many evaluations as steps, three to a step where they last (section 3.3 of the paper).

    It chooses its levels itself, equal distances of log sigma down to the smallest above 0, and ends there.
    """
    evaluations = len(run.sigmas) - 1
    start, end = log_snr(run.sigmas[0]), log_snr(run.sigmas[-2])
    if end <= start:
        yield run.model(run.latents, run.sigmas[0])
        return
    count = evaluations // 3 + 1
    rest = [2, 1] if evaluations % 3 == 0 else [evaluations % 3]
    x = run.latents
    for place, order in enumerate([3] * (count - len(rest)) + rest):
        at, to = (start + (end - start) * (place + offset) / count for offset in (0, 1))
        x = _DpmStep(run, x, at, to).solve(order)
        yield x


def dpm_adaptive(run: SolverRun) -> Iterator[torch.Tensor]:
    """DPM-Solver-3 with steps of its own choice, from the first level to the smallest above 0.

    A step's error is read off the solver of order 2 inside it; too large and the step is tried again, smaller (a
    PI controller as in k-diffusion, relative 0.05, absolute 0.0078). The schedule gives the ends only.
    """
    at, end = log_snr(run.sigmas[0]), log_snr(run.sigmas[-2])
    if end <= at:
        yield run.model(run.latents, run.sigmas[0])
        return
    x, lower, length = run.latents, run.latents, _FIRST_STEP
    while at < end - 1e-5:
        to = min(end, at + length)
        step = _DpmStep(run, x, at, to)
        coarse, fine = step.solve(2, first=1 / 3), step.solve(3)
        allowed = torch.clamp(_RELATIVE_TOLERANCE * torch.maximum(coarse.abs(), lower.abs()), min=_ABSOLUTE_TOLERANCE)
        error = float(torch.linalg.vector_norm((coarse - fine) / allowed)) / math.sqrt(x.numel())
        if not math.isfinite(error):
            yield fine
            return
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / 3) - 1)
        if factor >= _MIN_ACCEPTED_FACTOR:
            x, lower, at = fine, coarse, to
            yield x
        length *= factor


class _DpmStep:
    """One step of DPM-Solver from `at` to `to` in log-SNR; evaluations are made once and shared by the orders."""

    def __init__(self, run: SolverRun, x: torch.Tensor, at: float, to: float) -> None:
        self._model, self._x, self._at, self._to = run.model, x, at, to
        self._noise_by_share: dict[float, torch.Tensor] = {}

    def solve(self, order: int, first: float | None = None) -> torch.Tensor:
        """The latents at the end; `first` is where in the step the second evaluation lies."""
        start = self._noise_at(0.0, self._x)
        if order == 1:
            return self._first_order(1.0, start)
        if order == 2:
            share = first or 1 / 2
            inner = self._noise_at(share, self._first_order(share, start))
            return self._first_order(1.0, start) - self._sigma(1.0) * self._expm1(1.0) / (2 * share) * (inner - start)
        one, two = 1 / 3, 2 / 3
        inner = self._noise_at(one, self._first_order(one, start))
        bend = self._sigma(two) * (two / one) * (self._expm1(two) / (two * (self._to - self._at)) - 1)
        outer = self._noise_at(two, self._first_order(two, start) - bend * (inner - start))
        bend = self._sigma(1.0) / two * (self._expm1(1.0) / (self._to - self._at) - 1)
        return self._first_order(1.0, start) - bend * (outer - start)

    def _sigma(self, share: float) -> float:
        return math.exp(-(self._at + share * (self._to - self._at)))

    def _expm1(self, share: float) -> float:
        return math.expm1(share * (self._to - self._at))

    def _first_order(self, share: float, noise: torch.Tensor) -> torch.Tensor:
        return self._x - self._sigma(share) * self._expm1(share) * noise

    def _noise_at(self, share: float, x: torch.Tensor) -> torch.Tensor:
        if share not in self._noise_by_share:
            sigma = self._sigma(share)
            self._noise_by_share[share] = slope(x, sigma, self._model(x, sigma))
        return self._noise_by_share[share]
