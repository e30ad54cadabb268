"""The samplers of ours: against diffusers' on the same levels and noise, and against an equation with a known solution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from indexd.generate.sampling.diffusers_schedulers import TrainedNoise, build_scheduler
from indexd.generate.sampling.native_samplers import NATIVE_SAMPLERS
from indexd.generate.sampling.noise_levels import NoiseLevels, noise_levels_for
from indexd.generate.sampling.sampling_noise import BrownianNoise
from indexd.generate.sampling.sigma_schedules import build_sigmas
from indexd.generate.sampling.solver_run import SolverRun
from indexd_schemas.samplers import SAMPLERS, SamplerChoice

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
    return last(NATIVE_SAMPLERS[name].sample(SolverRun(Gaussian(), latents, tuple(levels), noise, LEVELS)))


def falling(n: int, high: float = 4.0, low: float = 0.3) -> list[float]:
    return [high * (low / high) ** (place / n) for place in range(n + 1)]


ORDERS = {
    "euler": 1, "ddim": 1, "heun": 2, "heunpp2": 1, "dpm_2": 2, "dpmpp_2m": 2, "exp_heun_2_x0": 2,
    "deis": 2, "lms": 3, "ipndm_v": 3, "uni_pc": 2, "uni_pc_bh2": 2,
}  # fmt: skip


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_the_error_falls_with_the_order(name: str, order: int) -> None:
    """Twice the steps: the error at a level above 0 falls at least like 2 to the order (the first steps of a multistep
    sampler are of lower order, which is why 3 is asked of the ones of order 4)."""
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
    noise: Any = fresh(chance, start) if not NATIVE_SAMPLERS[name].uses_brownian_noise else independent(chance, start)
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
            NATIVE_SAMPLERS["restart"].sample(
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


PLUS = [name for name, entry in NATIVE_SAMPLERS.items() if entry.is_cfg_pp]


@pytest.mark.parametrize("name", PLUS)
def test_cfg_pp_ends_in_the_guided_picture(name: str) -> None:
    """The last step is the guided picture of where it stands, whatever the unguided noise did before."""
    start = torch.tensor([5.0], dtype=torch.float64)
    noise: Any = lambda _sigma, _target: torch.zeros(1, dtype=torch.float64)  # noqa: E731
    run = SolverRun(Gaussian(), start, (1.0, 0.0), noise, LEVELS)
    assert last(NATIVE_SAMPLERS[name].sample(run)).item() == pytest.approx(1 + 4 * 0.25 / 1.25)


def test_euler_cfg_pp_puts_the_unguided_noise_back() -> None:
    made = solved("euler_cfg_pp", (2.0, 1.0), torch.tensor([3.0], dtype=torch.float64))
    clean, unguided = 1 + 2 * 0.25 / 4.25, 3 * 0.25 / 4.25
    assert made.item() == pytest.approx(clean + (3 - unguided) / 2 * 1.0)


# ---- against the schedulers of diffusers -----------------------------------------------------------------------------

SAME = ["euler", "euler_ancestral", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_heun"]
SAME += ["uni_pc", "uni_pc_bh2", "deis", "ddim", "dpm_2", "dpm_2_ancestral", "ddpm", "lcm"]
OF_DIFFUSERS = {"euler_ancestral": "normal", "ddim": "ddim_uniform", "ddpm": "ddim_uniform", "lcm": None}


def by_diffusers(
    name: str, steps: int, start: torch.Tensor, chance: torch.Generator, tau: float | None = None
) -> tuple[torch.Tensor, list[float]]:
    """The scheduler's own run with the Gaussian model, and the levels that it went through, in our form."""
    made = build_scheduler(SamplerChoice(name, OF_DIFFUSERS.get(name, "karras")), TrainedNoise())
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


class Always(NoiseLevels):
    """Every level lies between those at which SA-Solver begins and ends to add noise, or (tau 0) none."""

    def __init__(self, tau: float) -> None:
        super().__init__(TrainedNoise())
        self.tau = tau

    def sigma_at_share(self, share: float) -> float:
        return (0.0 if share > 0.5 else math.inf) if self.tau else math.nan


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_sa_solver_nears_diffusers_with_the_third_power_of_the_step(tau: float) -> None:
    """diffusers adds a term of that order to its second order ("empirically … slightly improves"), the paper does not.

    Where noise is added (tau) is a matter of the time step there and of the level here: both are set to always or never.
    """
    apart = []
    for steps in (10, 20, 40):
        start = torch.linspace(-2, 2, 64).view(1, 4, 4, 4)
        theirs, levels = by_diffusers("sa_solver", steps, start, torch.Generator().manual_seed(4), tau)
        chance = torch.Generator().manual_seed(4)
        noise: Any = lambda _sigma, _target: torch.randn(start.shape, generator=chance)  # noqa: B023, E731
        mine = last(
            NATIVE_SAMPLERS["sa_solver"].sample(
                SolverRun(Gaussian(), start * levels[0], tuple(levels), noise, Always(tau))
            )
        )
        apart.append(float((mine - theirs * math.sqrt(1 + levels[-1] ** 2)).abs().max()))
    assert apart[0] > 5 * apart[1] > 25 * apart[2]
    assert apart[2] < 0.03


def test_every_sampler_without_a_scheduler_has_a_function_of_ours() -> None:
    for name, sampler in SAMPLERS.items():
        only_diffusers = sampler.diffusers_schedules is not None and set(sampler.schedules) <= set(
            sampler.diffusers_schedules
        )
        assert (name in NATIVE_SAMPLERS) != only_diffusers
    assert set(NATIVE_SAMPLERS) <= set(SAMPLERS)
