"""Linear multistep samplers: the slopes of the last steps, extrapolated and integrated over the next (Adams-Bashforth)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

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

# DEIS interpolates in the time of a variance-preserving process with these ends (Karras et al., arXiv 2206.00364, table 1).
_VP_SIGMAS, _VP_FIRST_TIME = (0.002, 80.0), 0.001

# Levels of the slopes, newest first, and the level stepped to -> each slope's weight, the step's length included.
WeightFunction = Callable[[Sequence[float], float], Sequence[float]]


def lms(run: SolverRun) -> Iterator[torch.Tensor]:
    """Adams-Bashforth of order 4 in sigma at the schedule's distances (k-diffusion's LMS)."""
    yield from _multistep(run, 4, lambda nodes, target: lagrange_integrals(nodes, target, float))


def ipndm(run: SolverRun) -> Iterator[torch.Tensor]:
    """iPNDM (Zhang and Chen, arXiv 2204.13902): the weights of equal distances, order 4, lower in the first steps."""
    yield from _multistep(
        run, 4, lambda nodes, target: [weight * (target - nodes[0]) for weight in _EQUAL_STEP_WEIGHTS[len(nodes) - 1]]
    )


def ipndm_v(run: SolverRun) -> Iterator[torch.Tensor]:
    """iPNDM for unequal distances with the weights of its authors' diff-sampler, which ComfyUI uses.

    They are not those of Adams-Bashforth (`lms`): two factors differ, and on `linear_quadratic` the run diverges.
    """
    yield from _multistep(run, 4, _ipndm_v_weights)


def deis(run: SolverRun) -> Iterator[torch.Tensor]:
    """DEIS (Zhang and Chen, arXiv 2204.13902), tab form of order 3: a polynomial in VP time, integrated over sigma."""
    yield from _multistep(run, 3, lambda nodes, target: lagrange_integrals(nodes, target, _vp_time))


def plms(run: SolverRun) -> Iterator[torch.Tensor]:
    """Pseudo linear multistep (Liu et al., arXiv 2202.09778): the first step by Heun's rule, then the weights of equal
    distances up to order 4."""
    x, slopes = run.latents, list[torch.Tensor]()
    for sigma, target in run.sigma_pairs():
        here = slope(x, sigma, run.model(x, sigma))
        if not slopes and target > 0:
            reached = x + here * (target - sigma)
            there = slope(reached, target, run.model(reached, target))
            direction = (here + there) / 2
            slopes = [here]
        else:
            slopes = [here, *slopes[:3]]
            direction = torch.zeros_like(x)
            for weight, each in zip(_EQUAL_STEP_WEIGHTS[len(slopes) - 1], slopes, strict=True):
                direction = direction + weight * each
        x = x + direction * (target - sigma)
        yield x


def _ipndm_v_weights(nodes: Sequence[float], target: float) -> list[float]:
    """Each order adds a multiple of a divided difference of the slopes; h are the last steps, newest first."""
    h = target - nodes[0]
    h1, h2, h3 = (*(newer - older for newer, older in pairwise(nodes)), 0.0, 0.0, 0.0)[:3]
    weights = [1.0, 0.0, 0.0, 0.0]
    terms: list[tuple[float, tuple[float, ...]]] = []
    if len(nodes) > 1:
        terms.append((h / (2 * h1), (1.0, -1.0)))
    if len(nodes) > 2:
        ratio = h1 / h2
        terms.append(((1 - h**2 / (3 * h1 * (h1 + h2))) / 2, (1.0, -(1 + ratio), ratio)))
    if len(nodes) > 3:
        inner = (1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))
        inner *= h * (h + h1) * (h + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3))
        further = h1 * (h1 + h2) / (h2 * (h2 + h3))
        terms.append(
            (inner, (1.0, -(1 + ratio + further), ratio + further * (1 + h2 / h3), -further * ratio)),
        )
    for factor, difference in terms:
        for place, value in enumerate(difference):
            weights[place] += factor * value
    return [weight * h for weight in weights[: len(nodes)]]


def _vp_time(sigma: float) -> float:
    """The time at which a variance-preserving process of linear beta has this level."""
    low, high = (math.log(end**2 + 1) for end in _VP_SIGMAS)
    rise = 2 * (low / _VP_FIRST_TIME - high) / (_VP_FIRST_TIME - 1)
    start = high - rise / 2
    return (math.sqrt(start**2 + 2 * rise * math.log(sigma**2 + 1)) - start) / rise


def _multistep(run: SolverRun, order: int, step_weights: WeightFunction) -> Iterator[torch.Tensor]:
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
    """The integral over sigma, from nodes[0] to `target`, of each Lagrange polynomial in `transform(sigma)` through the nodes."""
    half, middle = (target - nodes[0]) / 2, (target + nodes[0]) / 2
    places = [transform(middle + half * float(point)) for point in _POINTS]
    at = [transform(node) for node in nodes]
    shares = []
    for own in range(len(at)):
        others = [place for index, place in enumerate(at) if index != own]
        values = [math.prod((place - other) / (at[own] - other) for other in others) for place in places]
        shares.append(half * float(np.dot(_WEIGHTS, values)))
    return shares
