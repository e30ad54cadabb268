"""Samplers made of Euler steps along the noise direction: Euler, Heun and their relatives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch

from indexd.generate.sampling.sigma_schedules import karras_between
from indexd.generate.sampling.solver_run import SolverRun, ancestral_step, slope

_ESTIMATION_GAIN = 2.0


def euler(run: SolverRun) -> Iterator[torch.Tensor]:
    """Algorithm 2 of arXiv 2206.00364 without its correction; the same as DDIM at eta 0 (arXiv 2010.02502)."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        x = clean if target == 0 else x + slope(x, sigma, clean) * (target - sigma)
        yield x


def euler_ancestral(run: SolverRun) -> Iterator[torch.Tensor]:
    """Euler to a lower level than the target, and back up with new noise (k-diffusion's ancestral step at eta 1)."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean = run.model(x, sigma)
        down, up = ancestral_step(sigma, target)
        x = clean if target == 0 else x + slope(x, sigma, clean) * (down - sigma) + run.noise(sigma, target) * up
        yield x


def euler_cfg_pp(run: SolverRun) -> Iterator[torch.Tensor]:
    """CFG++ (Chung et al., arXiv 2406.08070): to the guided clean latents, with the noise of the unguided ones added back."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean, unguided = run.model.with_negative(x, sigma)
        x = clean + slope(x, sigma, unguided) * target
        yield x


def euler_ancestral_cfg_pp(run: SolverRun) -> Iterator[torch.Tensor]:
    """CFG++ with ancestral steps."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        clean, unguided = run.model.with_negative(x, sigma)
        down, up = ancestral_step(sigma, target)
        x = clean + slope(x, sigma, unguided) * down
        if target > 0:
            x = x + run.noise(sigma, target) * up
        yield x


def heun(run: SolverRun) -> Iterator[torch.Tensor]:
    """Algorithm 2 of arXiv 2206.00364: the mean of the slopes at both ends of a step."""
    x = run.latents
    for sigma, target in run.sigma_pairs():
        x = _heun_step(run, x, sigma, target)
        yield x


def _heun_step(run: SolverRun, x: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    clean = run.model(x, sigma)
    if target == 0:
        return clean
    here = slope(x, sigma, clean)
    reached = x + here * (target - sigma)
    there = slope(reached, target, run.model(reached, target))
    return x + (here + there) * ((target - sigma) / 2)


def heunpp2(run: SolverRun) -> Iterator[torch.Tensor]:
    """Heun++: slopes at this level and the next two, weighed by those levels against the first one of the run.

    From Carzit's sd-webui-samplers-scheduler, as ComfyUI and Forge name it. The last step is Euler's, the one before it
    looks one level ahead.
    """
    x, first = run.latents, run.sigmas[0]
    for index, (sigma, target) in enumerate(run.sigma_pairs()):
        clean = run.model(x, sigma)
        if target == 0:
            x = clean
            yield x
            continue
        slopes, ahead, at = [slope(x, sigma, clean)], x, sigma
        further = [level for level in run.sigmas[index + 1 : index + 3] if level > 0]
        for level in further:
            ahead, at = ahead + slopes[-1] * (level - at), level
            slopes.append(slope(ahead, level, run.model(ahead, level)))
        shares = [level / ((len(further) + 1) * first) for level in further]
        mixed = slopes[0] * (1 - sum(shares))
        for share, direction in zip(shares, slopes[1:], strict=True):
            mixed = mixed + direction * share
        x = x + mixed * (target - sigma)
        yield x


def gradient_estimation(run: SolverRun) -> Iterator[torch.Tensor]:
    """Euler with the change of slope extrapolated (Permenter and Yuan, "Interpreting and improving diffusion models from an
    optimization perspective", arXiv 2306.04848, gamma = 2)."""
    yield from _gradient_estimation(run, guided=True)


def gradient_estimation_cfg_pp(run: SolverRun) -> Iterator[torch.Tensor]:
    """The same on the slopes of CFG++."""
    yield from _gradient_estimation(run, guided=False)


def _gradient_estimation(run: SolverRun, *, guided: bool) -> Iterator[torch.Tensor]:
    x, before = run.latents, None
    for sigma, target in run.sigma_pairs():
        clean, along = (run.model(x, sigma),) * 2 if guided else run.model.with_negative(x, sigma)
        direction = slope(x, sigma, along)
        x = clean + direction * target
        if target > 0 and before is not None:
            x = x + (_ESTIMATION_GAIN - 1) * (direction - before) * (target - sigma)
        before = direction
        yield x


def restart(run: SolverRun) -> Iterator[torch.Tensor]:
    """Heun that goes back up with new noise and repeats a stretch (Xu et al., arXiv 2306.14878).

    The stretch and how often are A1111's: between levels 0.1 and 2, once from 20 steps on, twice from 36 on; its steps are
    subtracted from the Karras schedule of the whole run, so that the number of steps stays the same.
    """
    x, at = run.latents, run.sigmas[0]
    for sigma, target in _with_restarts(run.sigmas):
        if sigma > at:
            x = x + run.noise(sigma, at) * (sigma**2 - at**2) ** 0.5
        x, at = _heun_step(run, x, sigma, target), target
        yield x


def _with_restarts(sigmas: tuple[float, ...]) -> list[tuple[float, float]]:
    steps = len(sigmas) - 1
    if steps < 20:
        return list(pairwise(sigmas))
    again, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    levels = [float(each) for each in karras_between(sigmas[-2], sigmas[0], steps - again * times)]
    # A1111 picks the levels of the schedule that lie nearest to the paper's.
    low, high = (min(range(len(levels)), key=lambda place: abs(levels[place] - wanted)) for wanted in (0.1, 2.0))
    plan = list(pairwise(levels[: low + 1]))
    if high < low:
        stretch = [float(each) for each in karras_between(levels[low], levels[high], again + 1)]
        plan += list(pairwise(stretch)) * times
    return plan + list(pairwise([*levels[low:], 0.0]))
