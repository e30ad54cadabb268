"""SA-Solver (Xue et al., arXiv 2309.05019): a stochastic Adams predictor and corrector on the clean latents.

Between the levels at 20 % and 80 % of the time steps it adds noise (tau = 1), outside it is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from indexd.generate.sampling.solver_run import SolverRun, log_snr

_PREDICTOR_ORDER, _CORRECTOR_ORDER = 3, 4


def sa_solver(run: SolverRun) -> Iterator[torch.Tensor]:
    """Predict, evaluate, correct; orders 3 and 4, as in ComfyUI."""
    yield from _solve(run, evaluate_twice=False)


def sa_solver_pece(run: SolverRun) -> Iterator[torch.Tensor]:
    """Predict, evaluate, correct, evaluate again: two evaluations a step."""
    yield from _solve(run, evaluate_twice=True)


def _solve(run: SolverRun, *, evaluate_twice: bool) -> Iterator[torch.Tensor]:
    x = predicted = run.latents
    seen: list[torch.Tensor] = []
    times: list[float] = []
    tau, noise, before = 0.0, torch.zeros_like(x), 0.0
    steps = len(run.sigmas) - 1
    for index, (sigma, target) in enumerate(run.sigma_pairs()):
        clean = run.model(predicted, sigma)
        seen, times = [clean, *seen][:_CORRECTOR_ORDER], [log_snr(sigma), *times][:_CORRECTOR_ORDER]
        # Towards the end the orders fall: the last steps are long in log-SNR.
        order = min(_CORRECTOR_ORDER, len(seen), steps - index)
        if index > 0 and (target > 0 or evaluate_twice):
            x = _adams_step(x, before, sigma, tau, seen[:order], times[:order]) + noise
            if evaluate_twice:
                clean = seen[0] = run.model(x, sigma)
        else:
            x = predicted
        if target == 0:
            yield clean
            return
        order = max(min(_PREDICTOR_ORDER, len(seen), steps - 1 - index), 1)
        tau = 1.0 if run.levels.sigma_at_share(0.8) <= target <= run.levels.sigma_at_share(0.2) else 0.0
        spread = target * math.sqrt(-math.expm1(-2 * tau**2 * (log_snr(target) - log_snr(sigma))))
        noise = run.noise(sigma, target) * spread if tau else torch.zeros_like(x)
        predicted = _adams_step(x, sigma, target, tau, seen[:order], times[:order]) + noise
        before = sigma
        yield predicted


def _adams_step(
    x: torch.Tensor, sigma: float, target: float, tau: float, seen: Sequence[torch.Tensor], times: Sequence[float]
) -> torch.Tensor:
    """One step from `sigma` to `target` without its noise: the clean latents as a polynomial in log-SNR (equations 15, 18)."""
    h = log_snr(target) - log_snr(sigma)
    moved = (target / sigma) * math.exp(-(tau**2) * h) * x
    for share, clean in zip(_adams_weights(times, log_snr(sigma), h, 1 + tau**2), seen, strict=True):
        moved = moved + share * clean
    return moved


def _adams_weights(times: Sequence[float], start: float, h: float, rate: float) -> list[float]:
    """For each Lagrange polynomial through `times`: rate * its integral against exp(-rate * (start + h - lambda)) over
    [start, start + h]. They add up to 1 - exp(-rate h)."""
    order = len(times)
    # Moments of ((lambda - start) / h)^k, by parts, from the exponential itself.
    z = rate * h
    moments = [-math.expm1(-z)]
    for power in range(1, order):
        moments.append(1 - power / z * moments[-1])
    places = (np.array(times) - start) / h
    return [float(each) for each in np.linalg.solve(np.vander(places, order, increasing=True).T, np.array(moments))]
