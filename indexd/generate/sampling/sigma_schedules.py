"""Schedules: how the steps of a run are spread over the noise levels.

Each takes (levels, n) and gives n falling levels above 0; the 0 that ends a run is put behind them by `sigmas`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from indexd.generate.sampling.beta_schedule import beta_sigmas
from indexd.generate.sampling.noise_levels import NoiseLevels

FloatArray = NDArray[np.float64]
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


def build_sigmas(
    schedule: str, levels: NoiseLevels, steps: int, *, discard_penultimate: bool = False
) -> tuple[float, ...]:
    """`steps` + 1 falling levels, the last one 0.

    `skip_last_but_one` makes one more and leaves out the smallest above 0: samplers that look between two levels gain
    nothing there (A1111 and ComfyUI do so for DPM2).
    """
    spread = SCHEDULE_FUNCTIONS[schedule](levels, steps + discard_penultimate)
    return (*(float(level) for level in spread[: steps if discard_penultimate else None]), 0.0)


def normal(levels: NoiseLevels, n: int) -> FloatArray:
    """Equal distances of time steps, both ends included."""
    return _sigmas_at(levels, np.linspace(len(levels.sigmas) - 1, 0, n))


def sgm_uniform(levels: NoiseLevels, n: int) -> FloatArray:
    """Equal distances of time steps without the lower end (stability.ai's generative-models)."""
    return _sigmas_at(levels, np.linspace(len(levels.sigmas) - 1, 0, n + 1)[:-1])


def simple(levels: NoiseLevels, n: int) -> FloatArray:
    """Every (1000 / n)-th trained level, counted from the highest."""
    places = (np.arange(n) * (len(levels.sigmas) / n)).astype(int)
    return np.asarray(levels.sigmas[-1 - places], dtype=np.float64)


def ddim_uniform(levels: NoiseLevels, n: int) -> FloatArray:
    """Every (1000 // n)-th trained level, counted from the second lowest (DDIM's own, arXiv 2010.02502)."""
    places = 1 + np.arange(n) * max(len(levels.sigmas) // n, 1)
    return np.asarray(levels.sigmas[np.minimum(places, len(levels.sigmas) - 1)][::-1], dtype=np.float64)


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
    return np.asarray(
        np.tan(np.linspace(math.atan(levels.sigma_max), math.atan(levels.sigma_min), n)), dtype=np.float64
    )


def linear_quadratic(levels: NoiseLevels, n: int) -> FloatArray:
    """Genmo's Mochi: the first half of the steps falls linearly by 2.5 % of the highest level, the rest as a parabola
    that goes on with the same slope and ends at 0."""
    if n == 1:
        return np.array([levels.sigma_max])
    linear = n // 2
    rest = n - linear
    pace = _LINEAR_UNTIL / linear
    done = np.arange(n, dtype=np.float64)
    over = np.maximum(done - linear, 0)
    curve = (1 - _LINEAR_UNTIL - pace * rest) / rest**2
    return np.asarray(levels.sigma_max * (1 - pace * done - curve * over**2), dtype=np.float64)


def _table_schedule(known: Sequence[float]) -> ScheduleFunction:
    def spread(_levels: NoiseLevels, n: int) -> FloatArray:
        places = np.linspace(0, len(known) - 1, n)
        return np.asarray(np.exp(np.interp(places, np.arange(len(known)), np.log(known))), dtype=np.float64)

    return spread


def _sigmas_at(levels: NoiseLevels, timesteps: FloatArray) -> FloatArray:
    return np.array([levels.sigma(float(timestep)) for timestep in timesteps])


SCHEDULE_FUNCTIONS: Mapping[str, ScheduleFunction] = {
    "normal": normal,
    "karras": karras,
    "exponential": polyexponential,
    "polyexponential": polyexponential,
    "beta": lambda levels, n: beta_sigmas(levels.sigmas, n),
    "sgm_uniform": sgm_uniform,
    "simple": simple,
    "ddim_uniform": ddim_uniform,
    "kl_optimal": kl_optimal,
    "linear_quadratic": linear_quadratic,
    "turbo": turbo,
    "align_your_steps": _table_schedule(_AYS),
    "align_your_steps_11": _table_schedule(_AYS),
    "align_your_steps_32": _table_schedule(_AYS_32),
    "align_your_steps_gits": _table_schedule(_GITS),
}
