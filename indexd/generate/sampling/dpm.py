"""DPM-Solver (Lu et al., arXiv 2206.00927): exponential integrators on the noise, at fixed and at chosen steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from indexd.generate.sampling.run import Run, ancestral, log_snr, slope

_RELATIVE, _ABSOLUTE = 0.05, 0.0078
_FIRST_STEP = 0.05
_ACCEPTED_FROM = 0.81


def dpm_2(run: Run) -> Iterator[torch.Tensor]:
    """A step with the slope of its (geometric) middle: DPM-Solver-2 in the levels of arXiv 2206.00364."""
    x = run.latents
    for sigma, target in run.pairs():
        x = _midpoint(run, x, sigma, target)
        yield x


def dpm_2_ancestral(run: Run) -> Iterator[torch.Tensor]:
    """The same further down than asked, and back up with new noise."""
    x = run.latents
    for sigma, target in run.pairs():
        down, up = ancestral(sigma, target)
        x = _midpoint(run, x, sigma, down)
        if target > 0:
            x = x + run.noise(sigma, target) * up
        yield x


def _midpoint(run: Run, x: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    clean = run.model(x, sigma)
    if target == 0:
        return clean
    middle = math.sqrt(sigma * target)
    half = x + slope(x, sigma, clean) * (middle - sigma)
    return x + slope(half, middle, run.model(half, middle)) * (target - sigma)


def dpm_fast(run: Run) -> Iterator[torch.Tensor]:
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
        x = _Step(run, x, at, to).of_order(order)
        yield x


def dpm_adaptive(run: Run) -> Iterator[torch.Tensor]:
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
        step = _Step(run, x, at, to)
        coarse, fine = step.of_order(2, first=1 / 3), step.of_order(3)
        allowed = torch.clamp(_RELATIVE * torch.maximum(coarse.abs(), lower.abs()), min=_ABSOLUTE)
        error = float(torch.linalg.vector_norm((coarse - fine) / allowed)) / math.sqrt(x.numel())
        if not math.isfinite(error):
            yield fine
            return
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / 3) - 1)
        if factor >= _ACCEPTED_FROM:
            x, lower, at = fine, coarse, to
            yield x
        length *= factor


class _Step:
    """One step of DPM-Solver from `at` to `to` in log-SNR; evaluations are made once and shared by the orders."""

    def __init__(self, run: Run, x: torch.Tensor, at: float, to: float) -> None:
        self._model, self._x, self._at, self._to = run.model, x, at, to
        self._seen: dict[float, torch.Tensor] = {}

    def of_order(self, order: int, first: float | None = None) -> torch.Tensor:
        """The latents at the end; `first` is where in the step the second evaluation lies."""
        start = self._noise(0.0, self._x)
        if order == 1:
            return self._moved(1.0, start)
        if order == 2:
            share = first or 1 / 2
            inner = self._noise(share, self._moved(share, start))
            return self._moved(1.0, start) - self._sigma(1.0) * self._grown(1.0) / (2 * share) * (inner - start)
        one, two = 1 / 3, 2 / 3
        inner = self._noise(one, self._moved(one, start))
        bend = self._sigma(two) * (two / one) * (self._grown(two) / (two * (self._to - self._at)) - 1)
        outer = self._noise(two, self._moved(two, start) - bend * (inner - start))
        bend = self._sigma(1.0) / two * (self._grown(1.0) / (self._to - self._at) - 1)
        return self._moved(1.0, start) - bend * (outer - start)

    def _sigma(self, share: float) -> float:
        return math.exp(-(self._at + share * (self._to - self._at)))

    def _grown(self, share: float) -> float:
        return math.expm1(share * (self._to - self._at))

    def _moved(self, share: float, noise: torch.Tensor) -> torch.Tensor:
        return self._x - self._sigma(share) * self._grown(share) * noise

    def _noise(self, share: float, x: torch.Tensor) -> torch.Tensor:
        if share not in self._seen:
            sigma = self._sigma(share)
            self._seen[share] = slope(x, sigma, self._model(x, sigma))
        return self._seen[share]
