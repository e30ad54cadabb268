"""Samplers and schedules by all common names, without torch: A1111's labels and ComfyUI's ids -> one canonical pair.

Canonical names are ComfyUI's, else A1111's in that form. diffusers' scheduler runs the pairs that diffusers has (flags:
`indexd/generate/sampling/diffusers_schedulers.py`); a sampler of ours runs all others (`indexd/generate/sampling/`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass


class UnknownSampler(ValueError):
    """Unusable sampler or schedule; the text lists usable ones."""


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A spacing of the noise levels. `label` is A1111's "Schedule type"."""

    name: str
    label: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplerInfo:
    """A sampler. `default_schedule` applies when none is named; `automatic_schedule` is A1111's "Automatic".

    `diffusers_schedules` are the schedules with which a diffusers scheduler runs it (None = not even the default). `max_steps` is the limit of
    that scheduler; None = no limit.
    """

    name: str
    label: str
    schedules: tuple[str, ...]
    default_schedule: str | None
    automatic_schedule: str | None
    aliases: tuple[str, ...] = ()
    diffusers_schedules: tuple[str, ...] | None = None
    max_steps: int | None = None


@dataclass(frozen=True, slots=True)
class SamplerChoice:
    """A valid pair of canonical names; `schedule` None = the sampler's default."""

    sampler: str
    schedule: str | None


SCHEDULES: Mapping[str, ScheduleInfo] = {
    schedule.name: schedule
    for schedule in (
        ScheduleInfo("normal", "Normal", ("uniform", "linspace")),
        ScheduleInfo("karras", "Karras"),
        ScheduleInfo("exponential", "Exponential"),
        ScheduleInfo("polyexponential", "Polyexponential"),
        ScheduleInfo("beta", "Beta"),
        ScheduleInfo("sgm_uniform", "SGM Uniform"),
        ScheduleInfo("simple", "Simple", ("trailing",)),
        ScheduleInfo("ddim_uniform", "DDIM", ("leading",)),
        ScheduleInfo("kl_optimal", "KL Optimal"),
        ScheduleInfo("linear_quadratic", "Linear Quadratic"),
        ScheduleInfo("turbo", "Turbo"),
        ScheduleInfo("align_your_steps", "Align Your Steps", ("ays",)),
        ScheduleInfo("align_your_steps_gits", "Align Your Steps GITS", ("gits",)),
        ScheduleInfo("align_your_steps_11", "Align Your Steps 11", ("ays_11",)),
        ScheduleInfo("align_your_steps_32", "Align Your Steps 32", ("ays_32", "ays_32_steps")),
    )
}

_SPACINGS = ("normal", "sgm_uniform", "simple", "ddim_uniform")
_SIGMAS = ("normal", "karras", "exponential", "beta", "sgm_uniform", "simple")
_ENDS_AT_SIGMA_MIN = ("normal", "karras", "exponential", "sgm_uniform", "simple")
_SIGMAS_AND_DDIM = (*_SIGMAS, "ddim_uniform")
_ALL_SCHEDULES = tuple(SCHEDULES)


def _with_diffusers(
    name: str, label: str, diffusers: tuple[str, ...], automatic: str = "normal", aliases: tuple[str, ...] = ()
) -> SamplerInfo:
    """A sampler that accepts every schedule; a diffusers scheduler runs the named ones."""
    return SamplerInfo(name, label, _ALL_SCHEDULES, "normal", automatic, aliases, diffusers)


def _own_sampler(name: str, label: str, automatic: str = "normal", aliases: tuple[str, ...] = ()) -> SamplerInfo:
    """A sampler of ours that accepts every schedule."""
    return SamplerInfo(name, label, _ALL_SCHEDULES, "normal", automatic, aliases)


SAMPLERS: Mapping[str, SamplerInfo] = {
    sampler.name: sampler
    for sampler in (
        _with_diffusers("euler", "Euler", _SIGMAS_AND_DDIM, aliases=("k_euler",)),
        _with_diffusers("euler_ancestral", "Euler a", _SPACINGS, aliases=("k_euler_a", "k_euler_ancestral")),
        _own_sampler("euler_cfg_pp", "Euler CFG++"),
        _own_sampler("euler_ancestral_cfg_pp", "Euler a CFG++"),
        _with_diffusers("heun", "Heun", _SIGMAS_AND_DDIM, aliases=("k_heun",)),
        _own_sampler("heunpp2", "HeunPP2", aliases=("Heun++2",)),
        _own_sampler("exp_heun_2_x0", "Exp Heun 2 x0"),
        _own_sampler("exp_heun_2_x0_sde", "Exp Heun 2 x0 SDE"),
        _with_diffusers("dpm_2", "DPM2", _SIGMAS_AND_DDIM, "karras", ("k_dpm_2",)),
        _with_diffusers("dpm_2_ancestral", "DPM2 a", _SIGMAS_AND_DDIM, "karras", ("k_dpm_2_a", "k_dpm_2_ancestral")),
        _with_diffusers("lms", "LMS", _SIGMAS_AND_DDIM, aliases=("k_lms",)),
        SamplerInfo("dpm_fast", "DPM fast", (), None, None, ("k_dpm_fast",)),
        SamplerInfo("dpm_adaptive", "DPM adaptive", (), None, None, ("k_dpm_ad", "k_dpm_adaptive")),
        _own_sampler("dpmpp_2s_ancestral", "DPM++ 2S a", "karras", ("k_dpmpp_2s_a", "k_dpmpp_2s_ancestral")),
        _own_sampler("dpmpp_2s_ancestral_cfg_pp", "DPM++ 2S a CFG++", "karras"),
        _own_sampler("dpmpp_sde", "DPM++ SDE", "karras", ("k_dpmpp_sde", "dpmpp_sde_gpu")),
        _with_diffusers("dpmpp_2m", "DPM++ 2M", _SIGMAS, "karras", ("k_dpmpp_2m",)),
        _own_sampler("dpmpp_2m_cfg_pp", "DPM++ 2M CFG++", "karras"),
        _with_diffusers("dpmpp_2m_sde", "DPM++ 2M SDE", _SIGMAS, "exponential", ("dpmpp_2m_sde_gpu",)),
        _with_diffusers("dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun", _SIGMAS, "exponential", ("dpmpp_2m_sde_heun_gpu",)),
        # Not by diffusers: its third-order SDE step has a constant of the wrong sign (docs/decisions.md, D-182).
        _own_sampler("dpmpp_3m_sde", "DPM++ 3M SDE", "exponential", ("dpmpp_3m_sde_gpu",)),
        _with_diffusers("uni_pc", "UniPC", _SIGMAS),
        _with_diffusers("uni_pc_bh2", "UniPC bh2", _SIGMAS),
        _with_diffusers("deis", "DEIS", _ENDS_AT_SIGMA_MIN),
        _own_sampler("ipndm", "IPNDM"),
        _own_sampler("ipndm_v", "IPNDM_V"),
        _with_diffusers("sa_solver", "SA Solver", _ENDS_AT_SIGMA_MIN),
        _own_sampler("sa_solver_pece", "SA Solver PECE"),
        _own_sampler("res_multistep", "Res Multistep"),
        _own_sampler("res_multistep_cfg_pp", "Res Multistep CFG++"),
        _own_sampler("res_multistep_ancestral", "Res Multistep a", aliases=("Res Multistep Ancestral",)),
        _own_sampler(
            "res_multistep_ancestral_cfg_pp", "Res Multistep a CFG++", aliases=("Res Multistep Ancestral CFG++",)
        ),
        _own_sampler("gradient_estimation", "Gradient Estimation"),
        _own_sampler("gradient_estimation_cfg_pp", "Gradient Estimation CFG++"),
        _own_sampler("er_sde", "ER SDE"),
        _own_sampler("seeds_2", "SEEDS 2"),
        _own_sampler("seeds_3", "SEEDS 3"),
        # It derives its own levels from Karras' from 20 steps on and would ignore another schedule.
        SamplerInfo("restart", "Restart", ("karras",), "karras", "karras"),
        SamplerInfo("ddim", "DDIM", _ALL_SCHEDULES, "ddim_uniform", "ddim_uniform", (), _SPACINGS),
        SamplerInfo("ddim_cfg_pp", "DDIM CFG++", _ALL_SCHEDULES, "ddim_uniform", "ddim_uniform"),
        SamplerInfo("ddpm", "DDPM", _ALL_SCHEDULES, "ddim_uniform", "ddim_uniform", (), _SPACINGS),
        SamplerInfo("plms", "PLMS", _SPACINGS, "ddim_uniform", "ddim_uniform", ("pndm",), _SPACINGS),
        SamplerInfo("lcm", "LCM", _ALL_SCHEDULES, None, None, (), (), max_steps=50),
    )
}


def _normalize(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("++", "pp"))


def _name_table(entries: Mapping[str, SamplerInfo] | Mapping[str, ScheduleInfo]) -> dict[str, str]:
    return {
        _normalize(name): entry.name for entry in entries.values() for name in (entry.name, entry.label, *entry.aliases)
    }


_SAMPLER_NAMES = _name_table(SAMPLERS)
_SCHEDULE_NAMES = _name_table(SCHEDULES)


def resolve_sampler(sampler: str, schedule: str | None = None, steps: int | None = None) -> SamplerChoice:
    """The canonical pair for names of A1111 or ComfyUI, combined ones ("DPM++ 2M Karras") included.

    Raises UnknownSampler with the nearest names, the sampler's schedules, or its limit of steps.
    """
    name, glued = _split_schedule(sampler)
    entry = SAMPLERS[name]
    if schedule is not None and _normalize(schedule) == "automatic":
        schedule = entry.automatic_schedule
    wanted = None if schedule is None else _find_schedule(schedule)
    if glued is not None and wanted is not None and glued != wanted:
        raise UnknownSampler(f"sampler {sampler!r} already says {glued}, but the schedule is {schedule!r}; keep one")
    wanted = wanted or glued
    if wanted is not None and wanted not in entry.schedules:
        takes = f"it takes {_join_names(entry.schedules)}" if entry.schedules else "it takes none"
        raise UnknownSampler(f"sampler {name} has no schedule {wanted}; {takes}")
    choice = SamplerChoice(name, wanted)
    if steps is not None and entry.max_steps is not None and runs_in_diffusers(choice) and steps > entry.max_steps:
        more = "; with a schedule it takes more" if entry.schedules else ""
        raise UnknownSampler(f"sampler {name} takes at most {entry.max_steps} steps (got {steps}){more}")
    return choice


def effective_schedule(choice: SamplerChoice) -> str | None:
    """The schedule in use: the named one, else the sampler's default; None if there is no choice."""
    return choice.schedule or SAMPLERS[choice.sampler].default_schedule


def runs_in_diffusers(choice: SamplerChoice) -> bool:
    """Whether a diffusers scheduler runs the pair instead of a sampler of ours."""
    entry, schedule = SAMPLERS[choice.sampler], effective_schedule(choice)
    return entry.diffusers_schedules is not None and (schedule is None or schedule in entry.diffusers_schedules)


def a1111_labels(choice: SamplerChoice) -> tuple[str, str | None]:
    """A1111's "Sampler" and "Schedule type" for a canonical pair."""
    schedule = effective_schedule(choice)
    return SAMPLERS[choice.sampler].label, None if schedule is None else SCHEDULES[schedule].label


def _split_schedule(text: str) -> tuple[str, str | None]:
    plain = _normalize(text)
    if plain in _SAMPLER_NAMES:
        return _SAMPLER_NAMES[plain], None
    for suffix, schedule in _SCHEDULE_NAMES.items():
        stem = plain.removesuffix(suffix)
        if stem != plain and stem in _SAMPLER_NAMES:
            return _SAMPLER_NAMES[stem], schedule
    close = difflib.get_close_matches(plain, _SAMPLER_NAMES, n=3, cutoff=0.5)
    names = list(dict.fromkeys(_SAMPLER_NAMES[match] for match in close)) or list(SAMPLERS)
    known = _join_names([SAMPLERS[name].label for name in names])
    raise UnknownSampler(f"there is no sampler {text!r}; {'did you mean' if close else 'there are'} {known}")


def _find_schedule(text: str) -> str:
    plain = _normalize(text)
    if plain in _SCHEDULE_NAMES:
        return _SCHEDULE_NAMES[plain]
    close = difflib.get_close_matches(plain, _SCHEDULE_NAMES, n=3, cutoff=0.5)
    names = list(dict.fromkeys(_SCHEDULE_NAMES[match] for match in close))
    offer = f"did you mean {_join_names(names)}; " if close else ""
    raise UnknownSampler(f"there is no schedule {text!r}; {offer}there are {_join_names(list(SCHEDULES))}, automatic")


def _join_names(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
