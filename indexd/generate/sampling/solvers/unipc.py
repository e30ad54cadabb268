"""UniPC (Zhao et al., arXiv 2302.04867): a predictor and a corrector of one form on the clean latents, order 3.

h is the step in lambda = -log sigma; B(h) is -h (bh1) or exp(-h) - 1 (bh2). The end of the run and the orders are those of
ComfyUI and A1111: the last level is 0.001 instead of 0, orders rise from 1 and fall again to 1 over the last steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch

from indexd.generate.sampling.solver_run import SolverRun, log_snr

_MAX_ORDER = 3
_LAST_SIGMA = 0.001

# The clean latents of the last evaluations with their lambda, newest first.
_History = list[tuple[torch.Tensor, float]]


def uni_pc(run: SolverRun) -> Iterator[torch.Tensor]:
    """B(h) = -h."""
    yield from _solve(run, bh2=False)


def uni_pc_bh2(run: SolverRun) -> Iterator[torch.Tensor]:
    """B(h) = exp(-h) - 1."""
    yield from _solve(run, bh2=True)


def _solve(run: SolverRun, *, bh2: bool) -> Iterator[torch.Tensor]:
    sigmas = run.sigmas if run.sigmas[-1] > 0 else (*run.sigmas[:-1], _LAST_SIGMA)
    steps = len(sigmas) - 1
    max_order = max(min(_MAX_ORDER, steps - 1), 1)
    x, history = run.latents, list[tuple[torch.Tensor, float]]()
    step: _Step | None = None
    for index, (sigma, target) in enumerate(pairwise(sigmas)):
        clean = run.model(x, sigma)
        if step is not None:
            x = step.correct(clean)
        history = [(clean, log_snr(sigma)), *history[: max_order - 1]]
        step = _Step(x, sigma, target, history[: min(max_order, steps - index)], bh2=bh2)
        x = step.predict()
        yield x


class _Step:
    """One step from `sigma` to `target`; its order is the length of `history`."""

    def __init__(self, x: torch.Tensor, sigma: float, target: float, history: _History, *, bh2: bool) -> None:
        (self._newest, start), *older = history
        h = log_snr(target) - start
        self._base = (target / sigma) * x - math.expm1(-h) * self._newest
        self._scale = math.expm1(-h) if bh2 else -h
        self._nodes = [(at - start) / h for _clean, at in older]
        # Divided differences of the clean latents against the newest.
        self._changes = [(clean - self._newest) / node for (clean, _at), node in zip(older, self._nodes, strict=True)]
        self._moments = _moments(-h, len(history), self._scale)

    def predict(self) -> torch.Tensor:
        """The latents at the end of the step, from what is known before it."""
        if not self._changes:
            return self._base
        # With one difference both programs take 1/2, which is the solution for h -> 0.
        shares = [0.5] if len(self._changes) == 1 else _solve_moments(self._nodes, self._moments[:-1])
        return self._mix(shares, self._changes)

    def correct(self, clean: torch.Tensor) -> torch.Tensor:
        """The same step again, now that the clean latents at its end are known."""
        changes = [*self._changes, clean - self._newest]
        shares = [0.5] if len(changes) == 1 else _solve_moments([*self._nodes, 1.0], self._moments)
        return self._mix(shares, changes)

    def _mix(self, shares: Sequence[float], changes: Sequence[torch.Tensor]) -> torch.Tensor:
        moved = self._base
        for share, change in zip(shares, changes, strict=True):
            moved = moved - (self._scale * share) * change
        return moved


def _moments(z: float, order: int, scale: float) -> list[float]:
    """k! z phi_(k+1)(z) / B(h) for k = 1..order (equation 5 of the paper), phi_k those of exponential integrators."""
    phi = math.expm1(z) / z
    moments = []
    for power in range(1, order + 1):
        phi = (phi - 1 / math.factorial(power)) / z
        moments.append(math.factorial(power) * z * phi / scale)
    return moments


def _solve_moments(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Shares whose moments over the nodes are those given."""
    powers = np.vander(np.array(nodes), len(nodes), increasing=True).T
    return [float(share) for share in np.linalg.solve(powers, np.array(moments))]
