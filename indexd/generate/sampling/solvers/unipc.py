"""UniPC (Zhao et al., arXiv 2302.04867): a predictor and a corrector of one form on the clean picture, order 2.

With h the (negative) step in lambda = -log sigma, B(h) is h (bh1) or exp(h) - 1 (bh2). The last step goes straight to the
clean picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from indexd.generate.sampling.solver_run import SolverRun, log_snr


def uni_pc(run: SolverRun) -> Iterator[torch.Tensor]:
    """B(h) = h."""
    yield from _solve(run, bh2=False)


def uni_pc_bh2(run: SolverRun) -> Iterator[torch.Tensor]:
    """B(h) = exp(h) - 1."""
    yield from _solve(run, bh2=True)


def _solve(run: SolverRun, *, bh2: bool) -> Iterator[torch.Tensor]:
    x = run.latents
    # The clean pictures of the last steps, newest first, with their lambda.
    seen: list[tuple[torch.Tensor, float]] = []
    base, step = x, 0.0
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        if seen:
            x = _correct(base, step, clean, seen, bh2=bh2)
        seen = [(clean, log_snr(sigma)), *seen[:1]]
        if target == 0:
            yield clean
            return
        step = log_snr(target) - log_snr(sigma)
        base = (target / sigma) * x - math.expm1(-step) * clean
        x = base if len(seen) < 2 else base - _b_of_h(step, bh2=bh2) * 0.5 * _extrapolated_change(seen, step)
        yield x


def _correct(
    base: torch.Tensor, step: float, clean: torch.Tensor, seen: list[tuple[torch.Tensor, float]], *, bh2: bool
) -> torch.Tensor:
    """The step to here once more, now that the clean picture at its end is known."""
    scale, change = _b_of_h(step, bh2=bh2), clean - seen[0][0]
    if len(seen) < 2:
        return base - scale * 0.5 * change
    # Two equations for the shares of the change before and after (equation 5 of the paper).
    ratio = (seen[1][1] - seen[0][1]) / step
    first = (_phi(2, -step) * -step) / scale
    second = 2 * (_phi(3, -step) * -step) / scale
    after = (second - ratio * first) / (1 - ratio)
    before = first - after
    return base - scale * (before * _extrapolated_change(seen, step) + after * change)


def _extrapolated_change(seen: list[tuple[torch.Tensor, float]], step: float) -> torch.Tensor:
    """The last change of the clean picture, carried on over one step."""
    (newest, at), (older, at_older) = seen
    return (older - newest) / ((at_older - at) / step)


def _b_of_h(step: float, *, bh2: bool) -> float:
    return math.expm1(-step) if bh2 else -step


def _phi(order: int, z: float) -> float:
    """phi_k(z) of the exponential integrators."""
    value = math.expm1(z) / z
    for power in range(1, order):
        value = (value - 1 / math.factorial(power)) / z
    return value
