"""Samplers against diffusers' over the same levels and noise, against an equation with a known solution, and by formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from indexd.generate.sampling.noise_levels import DiscreteLevels, TrainedNoise, noise_levels_for
from indexd.generate.sampling.sampler_functions import SAMPLER_FUNCTIONS
from indexd.generate.sampling.sampling_noise import BrownianNoise
from indexd.generate.sampling.sigma_schedules import build_sigmas
from indexd.generate.sampling.solver_run import SolverRun
from indexd_schemas.samplers import SAMPLERS
from tests.models.generate.diffusers_reference import diffusers_scheduler

LEVELS = noise_levels_for(TrainedNoise())
SPREAD = 0.5  # of the "pictures" of the Gaussian model


class Gaussian:
    """Pictures are normal around 1 with a spread of 0.5: then the best denoiser is known, and so is the whole flow.

    The unguided picture is the same around 0.
    """

    def __init__(self) -> None:
        self.asked: list[float] = []

    def __call__(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        self.asked.append(sigma)
        return 1 + (latents - 1) * (SPREAD**2 / (SPREAD**2 + sigma**2))

    def with_negative(self, latents: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        return self(latents, sigma), latents * (SPREAD**2 / (SPREAD**2 + sigma**2))


def exact(latents: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    """The probability flow of the Gaussian model: distances from the mean shrink like the spread of the noisy pictures."""
    return 1 + (latents - 1) * math.sqrt((SPREAD**2 + target**2) / (SPREAD**2 + sigma**2))


def last(steps: Iterable[torch.Tensor]) -> torch.Tensor:
    return list(steps)[-1]


def no_noise(_sigma: float, _target: float) -> torch.Tensor:
    raise AssertionError("a sampler without chance asked for noise")


def solved(name: str, levels: Iterable[float], latents: torch.Tensor, noise: Any = no_noise) -> torch.Tensor:
    return last(SAMPLER_FUNCTIONS[name].sample(SolverRun(Gaussian(), latents, tuple(levels), noise, LEVELS)))


def falling(n: int, high: float = 4.0, low: float = 0.3) -> list[float]:
    return [high * (low / high) ** (place / n) for place in range(n + 1)]


ORDERS = {
    "euler": 1, "ddim": 1, "heun": 2, "heunpp2": 1, "dpm_2": 2, "dpmpp_2m": 2, "exp_heun_2_x0": 2,
    "deis": 2, "lms": 3, "uni_pc": 2, "uni_pc_bh2": 2,
}  # fmt: skip


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_the_error_falls_with_the_order(name: str, order: int) -> None:
    """Twice the steps: the error at a level above 0 falls at least like 2 to the order (the first steps of a multistep
    sampler are of lower order, and so is UniPC's last one, which is why less than their full order is asked of these)."""
    start = torch.tensor([5.0, -3.0, 0.5], dtype=torch.float64)
    errors = []
    for n in (32, 64):
        reached = exact(start, 4.0, 0.3)
        errors.append(float((solved(name, falling(n), start) - reached).abs().max()))
    assert errors[0] < 0.2
    assert math.log2(errors[0] / errors[1]) > order - 0.35


def test_res_multistep_has_order_two() -> None:
    """Apart from the others: its first, lower step cancels by chance at few steps."""
    start = torch.tensor([5.0, -3.0, 0.5], dtype=torch.float64)
    errors = [
        float((solved("res_multistep", falling(n), start) - exact(start, 4.0, 0.3)).abs().max()) for n in (8, 128, 256)
    ]
    assert errors[0] < 2e-3
    assert math.log2(errors[1] / errors[2]) > 1.8


def test_adaptive_steps_end_where_the_flow_does() -> None:
    start = torch.tensor([5.0, -3.0, 0.5], dtype=torch.float64)
    for name, tolerance in (("dpm_adaptive", 0.02), ("dpm_fast", 0.02)):
        levels = [*falling(12, 14.0, 0.03), 0.0]
        reached = solved(name, levels, start)
        assert torch.allclose(reached, exact(start, 14.0, 0.03), atol=tolerance)


STOCHASTIC = [
    "euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun",
    "dpmpp_3m_sde", "res_multistep_ancestral", "exp_heun_2_x0_sde", "seeds_2", "seeds_3", "er_sde", "sa_solver",
    "sa_solver_pece", "ddpm", "restart",
]  # fmt: skip


@pytest.mark.parametrize("name", STOCHASTIC)
def test_samplers_with_noise_end_in_the_right_distribution(name: str) -> None:
    """From noise at the highest level the pictures must come out normal around 1 with a spread of 0.5."""
    chance = torch.Generator().manual_seed(1)
    levels = build_sigmas("karras", LEVELS, 60)
    start = 1 + torch.randn(20_000, generator=chance, dtype=torch.float64) * math.sqrt(levels[0] ** 2 + SPREAD**2)
    noise: Any = fresh(chance, start) if not SAMPLER_FUNCTIONS[name].uses_brownian_noise else independent(chance, start)
    made = solved(name, levels, start, noise)
    assert abs(float(made.mean()) - 1) < 0.03
    assert abs(float(made.std()) - SPREAD) < 0.04


def fresh(chance: torch.Generator, like: torch.Tensor) -> Callable[[float, float], torch.Tensor]:
    return lambda _sigma, _target: torch.randn(like.shape, generator=chance, dtype=like.dtype)


def independent(chance: torch.Generator, like: torch.Tensor) -> Callable[[float, float], torch.Tensor]:
    """Increments of one path, as the tree gives them: overlapping stretches share noise."""
    known: dict[tuple[float, float], torch.Tensor] = {}

    def give(sigma: float, target: float) -> torch.Tensor:
        whole = torch.randn(like.shape, generator=chance, dtype=like.dtype)
        for (top, low), part in known.items():
            if top == sigma and low > target:
                rest = math.sqrt((low - target) / (top - target))
                whole = part * math.sqrt((top - low) / (top - target)) + whole * rest
        known[(sigma, target)] = whole
        return whole

    return give


def test_restart_makes_the_asked_number_of_steps_and_goes_back_up() -> None:
    start = torch.zeros(1, dtype=torch.float64)
    chance = torch.Generator().manual_seed(1)
    for steps, ups in ((10, 0), (20, 1), (36, 2)):
        model, rises = Gaussian(), list[tuple[float, float]]()

        def noise(sigma: float, target: float, rises: list[tuple[float, float]] = rises) -> torch.Tensor:
            rises.append((target, sigma))
            return torch.randn(1, generator=chance, dtype=torch.float64)

        made = list(
            SAMPLER_FUNCTIONS["restart"].sample(
                SolverRun(model, start, build_sigmas("karras", LEVELS, steps), noise, LEVELS)
            )
        )
        assert (len(made), len(rises)) == (steps, ups)
        assert all(low < 0.2 and 1.3 < high < 3 for low, high in rises)


def test_a_brownian_path_makes_nearly_the_same_picture_with_more_steps() -> None:
    like = torch.zeros(1, 4, 16, 16)
    start = torch.randn(like.shape, generator=torch.Generator().manual_seed(3)) * LEVELS.sigma_max

    def at(steps: int, noise: Any) -> torch.Tensor:
        return solved("dpmpp_2m_sde", build_sigmas("karras", LEVELS, steps), start, noise)

    path = [
        BrownianNoise(torch.Generator().manual_seed(1), like, LEVELS.sigma_min / 2, LEVELS.sigma_max) for _ in range(2)
    ]
    loose = [fresh(torch.Generator().manual_seed(1), start) for _ in range(2)]
    near, far = (float((at(40, noise[0]) - at(80, noise[1])).std()) for noise in (path, loose))
    assert near < far / 3


def test_lcm_jumps_to_the_clean_picture_and_back_up() -> None:
    start = torch.tensor([3.0], dtype=torch.float64)
    ones = lambda _sigma, _target: torch.ones(1, dtype=torch.float64)  # noqa: E731
    made = solved("lcm", (2.0, 1.0, 0.0), start, ones)
    first = 1 + 2 * 0.25 / 4.25 + 1.0
    assert made.item() == pytest.approx(1 + (first - 1) * 0.25 / 1.25)


PLUS = [name for name, entry in SAMPLER_FUNCTIONS.items() if entry.is_cfg_pp]


@pytest.mark.parametrize("name", PLUS)
def test_cfg_pp_ends_in_the_guided_picture(name: str) -> None:
    """The last step is the guided picture of where it stands, whatever the unguided noise did before."""
    start = torch.tensor([5.0], dtype=torch.float64)
    noise: Any = lambda _sigma, _target: torch.zeros(1, dtype=torch.float64)  # noqa: E731
    run = SolverRun(Gaussian(), start, (1.0, 0.0), noise, LEVELS)
    assert last(SAMPLER_FUNCTIONS[name].sample(run)).item() == pytest.approx(1 + 4 * 0.25 / 1.25)


def test_euler_cfg_pp_puts_the_unguided_noise_back() -> None:
    made = solved("euler_cfg_pp", (2.0, 1.0), torch.tensor([3.0], dtype=torch.float64))
    clean, unguided = 1 + 2 * 0.25 / 4.25, 3 * 0.25 / 4.25
    assert made.item() == pytest.approx(clean + (3 - unguided) / 2 * 1.0)


# ---- against the schedulers of diffusers -----------------------------------------------------------------------------

SAME = ["euler", "euler_ancestral", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_heun"]
SAME += ["uni_pc", "uni_pc_bh2", "ddim", "dpm_2", "dpm_2_ancestral", "ddpm", "lcm"]


def by_diffusers(
    name: str, steps: int, start: torch.Tensor, chance: torch.Generator, tau: float | None = None
) -> tuple[torch.Tensor, list[float]]:
    """The scheduler's own run with the Gaussian model, and the levels that it went through, in our form."""
    made = diffusers_scheduler(name)
    if tau is not None:
        made.tau_func = lambda _timestep: tau
    made.set_timesteps(steps)
    levels = [float(level) for level in made.sigmas] if hasattr(made, "sigmas") else levels_of_ddim(made)
    levels = list(dict.fromkeys(levels))  # those of second order stand there twice
    variance_kept = name.startswith(("dpmpp", "uni_pc", "sa_")) or name in ("deis", "ddim", "ddpm", "lcm")
    high = levels[0]
    x = start * high / (math.sqrt(1 + high**2) if variance_kept else 1.0)
    model = Gaussian()
    for place, timestep in enumerate(made.timesteps):
        made.scale_model_input(x, timestep)
        index = made.step_index if getattr(made, "step_index", None) is not None else place
        level = float(made.sigmas[index]) if hasattr(made, "sigmas") else levels[place]
        if name.startswith("dpm_2") and not made.state_in_first_order:
            # The ancestral one counts its middles from the step before.
            level = float(made.sigmas_interpol[index - ("ancestral" in name)])
        full = x * math.sqrt(1 + level**2) if variance_kept else x
        noise = (full - model(full, level)) / level
        chances = "ancestral" in name or "sde" in name or name in ("ddpm", "lcm") or tau is not None
        more = {"generator": chance} if chances else {}
        x = made.step(noise.float(), timestep, x.float(), **more, return_dict=False)[0]
    return x, levels


def levels_of_ddim(made: Any) -> list[float]:
    kept = [float(made.alphas_cumprod[int(timestep)]) for timestep in made.timesteps]
    return [math.sqrt((1 - one) / one) for one in kept] + [0.0]


@pytest.mark.parametrize("name", SAME)
def test_the_same_levels_and_noise_give_diffusers_numbers(name: str) -> None:
    start = torch.linspace(-2, 2, 64).view(1, 4, 4, 4)
    theirs, levels = by_diffusers(name, 20, start, torch.Generator().manual_seed(4))
    chance = torch.Generator().manual_seed(4)
    noise: Any = lambda _sigma, _target: torch.randn(start.shape, generator=chance)  # noqa: E731
    mine = solved(name, levels, start * levels[0], noise)
    if name == "ddim":
        # It ends at the first trained level, whose signal share stands for "clean" there.
        mine = solved(name, [*levels[:-1], LEVELS.sigma_min], start * levels[0], noise) / math.sqrt(
            1 + LEVELS.sigma_min**2
        )
    assert torch.allclose(mine, theirs, atol=2e-3), float((mine - theirs).abs().max())


class ConstantNoise(DiscreteLevels):
    """Every level (tau 1) or none (tau 0) lies in the range in which SA-Solver adds noise."""

    def sigma_at_share(self, share: float) -> float:
        if not TAU.get():
            return math.nan
        return 0.0 if share > 0.5 else math.inf


TAU: ContextVar[float] = ContextVar("tau")


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_sa_solver_nears_diffusers_with_the_third_power_of_the_step(tau: float) -> None:
    """diffusers adds a term of that order to its steps of second order ("empirically … slightly improves"), the paper does not.

    Both are set to add noise at every level or at none, because they decide it by different measures.
    """
    TAU.set(tau)
    levels_of_ours = ConstantNoise(LEVELS.sigmas, np.arange(len(LEVELS.sigmas), dtype=np.float64))
    apart = []
    for steps in (10, 20, 40):
        start = torch.linspace(-2, 2, 64).view(1, 4, 4, 4)
        theirs, levels = by_diffusers("sa_solver", steps, start, torch.Generator().manual_seed(4), tau)
        chance = torch.Generator().manual_seed(4)
        noise: Any = lambda _sigma, _target: torch.randn(start.shape, generator=chance)  # noqa: B023, E731
        run = SolverRun(Gaussian(), start * levels[0], tuple(levels), noise, levels_of_ours)
        mine = last(SAMPLER_FUNCTIONS["sa_solver"].sample(run))
        apart.append(float((mine - theirs * math.sqrt(1 + levels[-1] ** 2)).abs().max()))
    assert apart[0] > 4 * apart[1] > 16 * apart[2]
    assert apart[2] < 0.03


# ---- by formula ------------------------------------------------------------------------------------------------------


class SlopeModel:
    """A model whose slope at a level is a known function of the level."""

    def __init__(self, slope_at: Callable[[float], float]) -> None:
        self.slope_at = slope_at

    def __call__(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        return latents - sigma * self.slope_at(sigma)

    def with_negative(self, latents: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("this sampler does not guide by the negative text")


def run_with_slope(name: str, levels: Sequence[float], slope_at: Callable[[float], float]) -> float:
    start = torch.zeros(1, dtype=torch.float64)
    noise: Any = no_noise
    run = SolverRun(SlopeModel(slope_at), start, tuple(levels), noise, LEVELS)
    return float(last(SAMPLER_FUNCTIONS[name].sample(run)))


def one_at(level: float, sigma: float) -> float:
    return float(sigma == level)


def test_deis_integrates_quadratic_polynomials_of_vp_time_exactly() -> None:
    """After two steps of lower order; VP time by the formula of Karras et al., with levels 0.002 to 80 at times 0.001 to 1."""
    rise = 2 * (math.log(0.002**2 + 1) / 0.001 - math.log(80**2 + 1)) / (0.001 - 1)
    first = math.log(80**2 + 1) - rise / 2

    def time(sigma: float) -> float:
        return (math.sqrt(first**2 + 2 * rise * math.log(sigma**2 + 1)) - first) / rise

    assert [time(0.002), time(80.0)] == pytest.approx([0.001, 1.0])

    def slope_at(sigma: float) -> float:
        return 1 - 3 * time(sigma) + 5 * time(sigma) ** 2

    levels = [14.0, 9.0, 5.0, 2.0]
    made = run_with_slope("deis", levels, slope_at) - run_with_slope("deis", levels[:3], slope_at)
    points = np.linspace(5.0, 2.0, 100_001)
    assert made == pytest.approx(
        float(np.trapezoid(np.array([slope_at(float(point)) for point in points]), points)), rel=1e-8
    )


IPNDM_V_WEIGHTS = [0.005078125, -0.155381944444, 0.550520833333, -0.901909722222]


def test_ipndm_v_has_the_weights_of_diff_sampler() -> None:
    """Worked out from ComfyUI's coefficients for the levels 10, 7, 5, 4 -> 3.5, which no Adams-Bashforth formula gives."""
    levels = (10.0, 7.0, 5.0, 4.0, 3.5)
    weights = []
    for level in levels[:4]:
        slope_at = partial(one_at, level)
        weights.append(run_with_slope("ipndm_v", levels, slope_at) - run_with_slope("ipndm_v", levels[:4], slope_at))
    assert weights == pytest.approx(IPNDM_V_WEIGHTS, rel=1e-9)


def test_plms_starts_with_the_mean_of_both_slopes_and_goes_on_with_four() -> None:
    levels = (4.0, 3.0, 2.0, 1.0, 0.5)
    slope_at = {4.0: 1.0, 3.0: 10.0, 2.0: 100.0, 1.0: 1000.0}.__getitem__
    steps = [run_with_slope("plms", levels[: count + 1], slope_at) for count in range(1, 5)]
    changes = [steps[0], *(later - earlier for earlier, later in pairwise(steps))]
    expected = [-(1 + 10) / 2, -(3 * 10 - 1) / 2, -(23 * 100 - 16 * 10 + 5) / 12]
    expected.append(-0.5 * (55 * 1000 - 59 * 100 + 37 * 10 - 9) / 24)
    assert changes == pytest.approx(expected)


def test_uni_pc_ends_at_level_one_thousandth() -> None:
    start = torch.tensor([3.0], dtype=torch.float64)
    for name in ("uni_pc", "uni_pc_bh2"):
        made = [float(solved(name, (4.0, 2.0, 1.0, end), start)) for end in (0.0, 0.001)]
        assert made[0] == made[1]


def test_cfg_pp_of_2s_ancestral_moves_the_latents_by_the_guidance() -> None:
    """One step from 2 to 1 by hand: x is moved by (guided - unguided), then the guided latents are integrated."""
    zero: Any = lambda _sigma, _target: torch.zeros(1, dtype=torch.float64)  # noqa: E731
    made = solved("dpmpp_2s_ancestral_cfg_pp", (2.0, 1.0), torch.tensor([3.0], dtype=torch.float64), zero)
    down = math.sqrt(1 - 1 * (4 - 1) / 4)
    middle = math.sqrt(2 * down)

    def guided(x: float, sigma: float) -> tuple[float, float]:
        share = 0.25 / (0.25 + sigma**2)
        return 1 + (x - 1) * share, x * share

    clean, unguided = guided(3.0, 2.0)
    half = middle / 2 * (3 + clean - unguided) + (1 - middle / 2) * clean
    inner, inner_unguided = guided(half, middle)
    assert float(made) == pytest.approx(down / 2 * (3 + clean - inner_unguided) + (1 - down / 2) * inner)


def test_every_sampler_has_a_function() -> None:
    assert set(SAMPLER_FUNCTIONS) == set(SAMPLERS)
