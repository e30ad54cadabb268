"""Linear multistep samplers: the slopes of the last steps as a polynomial, integrated over the next (Adams-Bashforth)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from indexd.generate.sampling.solver_run import SolverRun, slope

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(24)
# Weights of Adams-Bashforth at equal distances, newest slope first.
_EQUAL_STEP_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)

WeightFunction = Callable[[Sequence[float], float], Sequence[float]]


def lms(run: SolverRun) -> Iterator[torch.Tensor]:
    """Adams-Bashforth of order 4 in sigma, at the distances that the schedule has (k-diffusion's LMS)."""
    yield from _multistep(run, 4, lambda nodes, target: lagrange_integrals(nodes, target, float))


def ipndm(run: SolverRun) -> Iterator[torch.Tensor]:
    """iPNDM (Zhang and Chen, arXiv 2204.13902): the weights of equal distances, order 4, lower while it warms up."""
    yield from _multistep(
        run, 4, lambda nodes, target: [weight * (target - nodes[0]) for weight in _EQUAL_STEP_WEIGHTS[len(nodes) - 1]]
    )


def ipndm_v(run: SolverRun) -> Iterator[torch.Tensor]:
    """iPNDM with the weights of the real, unequal distances."""
    yield from _multistep(run, 4, lambda nodes, target: lagrange_integrals(nodes, target, float))


def deis(run: SolverRun) -> Iterator[torch.Tensor]:
    """DEIS (Zhang and Chen, arXiv 2204.13902), log-rho form of order 2: a polynomial in log sigma, integrated over sigma."""
    yield from _multistep(run, 2, lambda nodes, target: lagrange_integrals(nodes, target, math.log))


def _multistep(run: SolverRun, order: int, step_weights: WeightFunction) -> Iterator[torch.Tensor]:
    """`weigh(levels of the slopes, newest first; target)` gives each slope's share, the step's length included."""
    x = run.latents
    slopes: list[torch.Tensor] = []
    nodes: list[float] = []
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        if target == 0:
            yield clean
            return
        slopes, nodes = [slope(x, sigma, clean), *slopes[: order - 1]], [sigma, *nodes[: order - 1]]
        for share, direction in zip(step_weights(nodes, target), slopes, strict=True):
            x = x + direction * share
        yield x


def lagrange_integrals(nodes: Sequence[float], target: float, transform: Callable[[float], float]) -> list[float]:
    """The integral from nodes[0] to `target` over sigma of each Lagrange polynomial in `of(sigma)` through the nodes."""
    half, middle = (target - nodes[0]) / 2, (target + nodes[0]) / 2
    places = [transform(middle + half * float(point)) for point in _POINTS]
    at = [transform(node) for node in nodes]
    shares = []
    for own in range(len(at)):
        others = [place for index, place in enumerate(at) if index != own]
        values = [math.prod((place - other) / (at[own] - other) for other in others) for place in places]
        shares.append(half * float(np.dot(_WEIGHTS, values)))
    return shares
