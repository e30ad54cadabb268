"""Schedules: how the steps of a run are spread over the noise levels.

Each takes (levels, n) and gives falling levels, of which the last is 0 in all but one (`kl_optimal_a1111`). Most give n levels
above 0; `ddim_uniform` and `beta` give as many as their definition has. Names mean what ComfyUI means by them; where A1111
defines a schedule otherwise, its definition has the ending `_a1111`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta as beta_distribution  # type: ignore[import-untyped]

from indexd.generate.sampling.noise_levels import FloatArray, NoiseLevels
from indexd_schemas.samplers import StepCounting

ScheduleFunction = Callable[[NoiseLevels, int], FloatArray]

KARRAS_RHO = 7.0
# NVIDIA's optimised levels for SDXL: 10 steps (Sabour et al., "Align Your Steps", arXiv 2404.14507, and the project page's
# table), the GITS variant of Chen et al. (arXiv 2405.11326), and the 32-level table that Forge builds ship.
_AYS = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
_GITS = (14.615, 4.734, 2.567, 1.529, 0.987, 0.652, 0.418, 0.268, 0.179, 0.127, 0.029)
_AYS_32 = (
    *(14.615, 11.1491618, 8.50522127, 6.48827151, 5.43707402, 4.60398619, 3.89854704, 3.27407457),
    *(2.74396527, 2.29968659, 1.95448514, 1.67108715, 1.42878152, 1.23181009, 1.06789649, 0.92579443),
    *(0.80290886, 0.69660121, 0.60436903, 0.52852552, 0.46773344, 0.41393379, 0.36258186, 0.31008517),
    *(0.26518925, 0.22326461, 0.17653877, 0.13959192, 0.10587381, 0.05519369, 0.02877334, 0.015),
)
_LINEAR_UNTIL = 0.025
_BETA_ALPHA = 0.6
_ENDS_ABOVE_ZERO = ("kl_optimal_a1111",)
# ComfyUI and A1111 take a denoise from here on for the whole.
_WHOLE_DENOISE = 0.9999
_A1111_MAX_DENOISE = 0.999


def build_sigmas(
    schedule: str, levels: NoiseLevels, steps: int, *, discard_penultimate: bool = False
) -> tuple[float, ...]:
    """The falling levels of a run of `steps` steps, one more than steps.

    `discard_penultimate` makes one level more and leaves out the last one above the end, as A1111 and ComfyUI do for samplers
    that evaluate the model between two levels. A schedule that picks trained levels never gives one twice, so it gives fewer
    than asked where there are not enough.
    """
    spread = [float(level) for level in SCHEDULE_FUNCTIONS[schedule](levels, steps + discard_penultimate)]
    if schedule not in _ENDS_ABOVE_ZERO:
        spread.append(0.0)
    if discard_penultimate and len(spread) > 2:
        del spread[-2]
    return tuple(dict.fromkeys(spread))


@dataclass(frozen=True, slots=True)
class PassSigmas:
    """The levels of a pass, and the first of the schedule whose last part they are."""

    sigmas: tuple[float, ...]
    schedule_highest: float


def build_pass_sigmas(
    schedule: str,
    levels: NoiseLevels,
    steps: int,
    denoise: float,
    *,
    discard_penultimate: bool = False,
    counting: StepCounting = "taken",
) -> PassSigmas:
    """The levels of a pass that starts from latents: the last part of a longer schedule, from the share `denoise` of it on.

    `taken`: all `steps` are taken, over the end of a schedule of `steps / denoise` (ComfyUI's samplers, A1111's hires pass).
    `a1111_img2img`: the last `steps * denoise` and one more of a schedule of `steps`.
    """
    taken, total = steps, steps
    if counting == "a1111_img2img":
        taken = min(int(min(denoise, _A1111_MAX_DENOISE) * steps) + 1, steps)
    elif denoise < _WHOLE_DENOISE:
        total = int(steps / denoise)
    whole = build_sigmas(schedule, levels, total, discard_penultimate=discard_penultimate)
    is_whole = counting == "taken" and total == steps
    return PassSigmas(whole if is_whole else whole[-(taken + 1) :], whole[0])


def normal(levels: NoiseLevels, n: int) -> FloatArray:
    """Equal distances of time steps, both ends included."""
    return _sigmas_at_shares(levels, np.linspace(0, 1, n))


def sgm_uniform(levels: NoiseLevels, n: int) -> FloatArray:
    """Equal distances of time steps without the lower end (stability.ai's generative-models)."""
    return _sigmas_at_shares(levels, np.linspace(0, 1, n + 1)[:-1])


def simple(levels: NoiseLevels, n: int) -> FloatArray:
    """Every (1000 / n)-th trained level, counted from the highest."""
    places = (np.arange(n) * (len(levels.sigmas) / n)).astype(int)
    return np.asarray(levels.sigmas[-1 - places], dtype=np.float64)


def ddim_uniform(levels: NoiseLevels, n: int) -> FloatArray:
    """Every (1000 // n)-th trained level from the second lowest to the top (DDIM's own, arXiv 2010.02502).

    Where n does not divide 1000 these are more than n: 31 for 30.
    """
    places = np.arange(1, len(levels.sigmas), max(len(levels.sigmas) // n, 1))
    return np.asarray(levels.sigmas[places][::-1], dtype=np.float64)


def beta(levels: NoiseLevels, n: int) -> FloatArray:
    """Trained levels at the quantiles of a Beta(0.6, 0.6) distribution over the time steps (Lee et al., "Beta Sampling is All
    You Need", arXiv 2407.12173), rounded as ComfyUI does."""
    shares = beta_distribution.ppf(1 - np.linspace(0, 1, n, endpoint=False), _BETA_ALPHA, _BETA_ALPHA)
    places = np.rint(shares * (len(levels.sigmas) - 1)).astype(int)
    return np.asarray(levels.sigmas[places], dtype=np.float64)


def beta_a1111(levels: NoiseLevels, n: int) -> FloatArray:
    """The same quantiles taken over the levels themselves, both ends included, as A1111 does."""
    shares = beta_distribution.ppf(1 - np.linspace(0, 1, n), _BETA_ALPHA, _BETA_ALPHA)
    return np.asarray(levels.sigma_min + shares * (levels.sigma_max - levels.sigma_min), dtype=np.float64)


def turbo(levels: NoiseLevels, n: int) -> FloatArray:
    """SDXL Turbo's time steps: 1000 i / n - 1, rounded."""
    places = np.rint(np.arange(n, 0, -1) * (len(levels.sigmas) / n) - 1).astype(int)
    return np.asarray(levels.sigmas[np.clip(places, 0, len(levels.sigmas) - 1)], dtype=np.float64)


def karras(levels: NoiseLevels, n: int) -> FloatArray:
    """Equal distances of the 7th roots of the levels (equation 5 of arXiv 2206.00364)."""
    return karras_between(levels.sigma_min, levels.sigma_max, n)


def karras_between(low: float, high: float, n: int) -> FloatArray:
    """Karras levels from `high` to `low`, both included."""
    roots = np.linspace(high ** (1 / KARRAS_RHO), low ** (1 / KARRAS_RHO), n)
    return np.asarray(roots**KARRAS_RHO, dtype=np.float64)


def polyexponential(levels: NoiseLevels, n: int) -> FloatArray:
    """Equal distances of the levels' logarithms: k-diffusion's formula at rho = 1, where it is the exponential one."""
    return np.asarray(np.exp(np.linspace(math.log(levels.sigma_max), math.log(levels.sigma_min), n)), dtype=np.float64)


def kl_optimal(levels: NoiseLevels, n: int) -> FloatArray:
    """Equal distances of the levels' arc tangents (theorem 3.1 of "Align Your Steps", arXiv 2404.14507)."""
    return _between_arc_tangents(levels, n)


def kl_optimal_a1111(levels: NoiseLevels, n: int) -> FloatArray:
    """n + 1 such levels, as A1111 has them: the run ends at the lowest trained level instead of 0."""
    return _between_arc_tangents(levels, n + 1)


def _between_arc_tangents(levels: NoiseLevels, n: int) -> FloatArray:
    angles = np.linspace(math.atan(levels.sigma_max), math.atan(levels.sigma_min), n)
    return np.asarray(np.tan(angles), dtype=np.float64)


def linear_quadratic(levels: NoiseLevels, n: int) -> FloatArray:
    """Genmo's Mochi: the first half of the steps falls linearly by 2.5 % of the highest level, the rest as a parabola
    that goes on with the same slope and ends at 0."""
    if n == 1:
        return np.array([levels.sigma_max])
    linear = n // 2
    rest = n - linear
    drop = _LINEAR_UNTIL / linear
    done = np.arange(n, dtype=np.float64)
    over = np.maximum(done - linear, 0)
    curve = (1 - _LINEAR_UNTIL - drop * rest) / rest**2
    return np.asarray(levels.sigma_max * (1 - drop * done - curve * over**2), dtype=np.float64)


def _table_schedule(known: Sequence[float]) -> ScheduleFunction:
    def spread(_levels: NoiseLevels, n: int) -> FloatArray:
        places = np.linspace(0, len(known) - 1, n)
        return np.asarray(np.exp(np.interp(places, np.arange(len(known)), np.log(known))), dtype=np.float64)

    return spread


def _sigmas_at_shares(levels: NoiseLevels, shares: FloatArray) -> FloatArray:
    return np.array([levels.sigma_at_share(float(share)) for share in shares])


SCHEDULE_FUNCTIONS: Mapping[str, ScheduleFunction] = {
    "normal": normal,
    "karras": karras,
    "exponential": polyexponential,
    "polyexponential": polyexponential,
    "beta": beta,
    "beta_a1111": beta_a1111,
    "sgm_uniform": sgm_uniform,
    "simple": simple,
    "ddim_uniform": ddim_uniform,
    "kl_optimal": kl_optimal,
    "kl_optimal_a1111": kl_optimal_a1111,
    "linear_quadratic": linear_quadratic,
    "turbo": turbo,
    "align_your_steps": _table_schedule(_AYS),
    "align_your_steps_11": _table_schedule(_AYS),
    "align_your_steps_32": _table_schedule(_AYS_32),
    "align_your_steps_gits": _table_schedule(_GITS),
}
