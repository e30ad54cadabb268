"""Samplers and schedules by all common names, without torch: A1111's labels and ComfyUI's ids -> one canonical pair.

The canonical names are ComfyUI's where it has the sampler, else A1111's in that form. Where A1111 defines a schedule otherwise
than ComfyUI, its definition has a name of its own (`beta_a1111`); `with_a1111_definitions` chooses those.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

StepCounting = Literal["taken", "a1111_img2img"]
"""What `steps` means in a pass that starts from an image: all are taken, or A1111's part of them (docs/samplers.md)."""


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
    """A sampler. `schedules` are those it takes, none where it chooses its own noise levels.

    `default_schedule` is used when none is named; `automatic_schedule` is the one A1111 means by "Automatic".
    """

    name: str
    label: str
    schedules: tuple[str, ...]
    default_schedule: str | None
    automatic_schedule: str | None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplerChoice:
    """A valid pair of canonical names; `schedule` None = the sampler's default."""

    sampler: str
    schedule: str | None


SCHEDULES: Mapping[str, ScheduleInfo] = {
    schedule.name: schedule
    for schedule in (
        ScheduleInfo("normal", "Normal", ("uniform", "linspace")),
        ScheduleInfo("karras", "Karras", ("k",)),
        ScheduleInfo("exponential", "Exponential"),
        ScheduleInfo("polyexponential", "Polyexponential"),
        ScheduleInfo("beta", "Beta"),
        ScheduleInfo("beta_a1111", "Beta A1111"),
        ScheduleInfo("sgm_uniform", "SGM Uniform"),
        ScheduleInfo("simple", "Simple", ("trailing",)),
        ScheduleInfo("ddim_uniform", "DDIM", ("leading",)),
        ScheduleInfo("kl_optimal", "KL Optimal"),
        ScheduleInfo("kl_optimal_a1111", "KL Optimal A1111"),
        ScheduleInfo("linear_quadratic", "Linear Quadratic"),
        ScheduleInfo("turbo", "Turbo"),
        ScheduleInfo("align_your_steps", "Align Your Steps", ("ays",)),
        ScheduleInfo("align_your_steps_gits", "Align Your Steps GITS", ("gits",)),
        ScheduleInfo("align_your_steps_11", "Align Your Steps 11", ("ays_11",)),
        ScheduleInfo("align_your_steps_32", "Align Your Steps 32", ("ays_32", "ays_32_steps")),
    )
}

_ALL_SCHEDULES = tuple(SCHEDULES)
# Programs whose infotext means A1111's definitions (`ImageMetadata.generator`).
A1111_PROGRAMS = ("a1111", "forge", "reforge")
_A1111_DEFINITIONS = {"beta": "beta_a1111", "kl_optimal": "kl_optimal_a1111"}


def _sampler(name: str, label: str, automatic: str = "normal", aliases: tuple[str, ...] = ()) -> SamplerInfo:
    """A sampler that takes every schedule and has `normal` as its default."""
    return SamplerInfo(name, label, _ALL_SCHEDULES, "normal", automatic, aliases)


SAMPLERS: Mapping[str, SamplerInfo] = {
    sampler.name: sampler
    for sampler in (
        _sampler("euler", "Euler", aliases=("k_euler",)),
        _sampler("euler_ancestral", "Euler a", aliases=("k_euler_a", "k_euler_ancestral")),
        _sampler("euler_cfg_pp", "Euler CFG++"),
        _sampler("euler_ancestral_cfg_pp", "Euler a CFG++"),
        _sampler("heun", "Heun", aliases=("k_heun",)),
        _sampler("heunpp2", "HeunPP2", aliases=("Heun++2",)),
        _sampler("exp_heun_2_x0", "Exp Heun 2 x0"),
        _sampler("exp_heun_2_x0_sde", "Exp Heun 2 x0 SDE"),
        _sampler("dpm_2", "DPM2", "karras", ("k_dpm_2",)),
        _sampler("dpm_2_ancestral", "DPM2 a", "karras", ("k_dpm_2_a", "k_dpm_2_ancestral")),
        _sampler("lms", "LMS", aliases=("k_lms",)),
        SamplerInfo("dpm_fast", "DPM fast", (), None, None, ("k_dpm_fast",)),
        SamplerInfo("dpm_adaptive", "DPM adaptive", (), None, None, ("k_dpm_ad", "k_dpm_adaptive")),
        _sampler("dpmpp_2s_ancestral", "DPM++ 2S a", "karras", ("k_dpmpp_2s_a", "k_dpmpp_2s_ancestral")),
        _sampler("dpmpp_2s_ancestral_cfg_pp", "DPM++ 2S a CFG++", "karras"),
        _sampler("dpmpp_sde", "DPM++ SDE", "karras", ("k_dpmpp_sde", "dpmpp_sde_gpu")),
        _sampler("dpmpp_2m", "DPM++ 2M", "karras", ("k_dpmpp_2m",)),
        _sampler("dpmpp_2m_cfg_pp", "DPM++ 2M CFG++", "karras"),
        _sampler("dpmpp_2m_sde", "DPM++ 2M SDE", "exponential", ("dpmpp_2m_sde_gpu",)),
        _sampler("dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun", "exponential", ("dpmpp_2m_sde_heun_gpu",)),
        # Not by diffusers: its third-order SDE step has a constant of the wrong sign (docs/decisions.md, D-182).
        _sampler("dpmpp_3m_sde", "DPM++ 3M SDE", "exponential", ("dpmpp_3m_sde_gpu",)),
        _sampler("uni_pc", "UniPC"),
        _sampler("uni_pc_bh2", "UniPC bh2"),
        _sampler("deis", "DEIS"),
        _sampler("ipndm", "IPNDM"),
        _sampler("ipndm_v", "IPNDM_V"),
        _sampler("sa_solver", "SA Solver"),
        _sampler("sa_solver_pece", "SA Solver PECE"),
        _sampler("res_multistep", "Res Multistep"),
        _sampler("res_multistep_cfg_pp", "Res Multistep CFG++"),
        _sampler("res_multistep_ancestral", "Res Multistep a", aliases=("Res Multistep Ancestral",)),
        _sampler("res_multistep_ancestral_cfg_pp", "Res Multistep a CFG++", aliases=("Res Multistep Ancestral CFG++",)),
        _sampler("gradient_estimation", "Gradient Estimation"),
        _sampler("gradient_estimation_cfg_pp", "Gradient Estimation CFG++"),
        _sampler("er_sde", "ER SDE"),
        _sampler("seeds_2", "SEEDS 2"),
        _sampler("seeds_3", "SEEDS 3"),
        # It derives its own levels from Karras' from 20 steps on and would ignore another schedule.
        SamplerInfo("restart", "Restart", ("karras",), "karras", "karras"),
        SamplerInfo("ddim", "DDIM", _ALL_SCHEDULES, "ddim_uniform", "ddim_uniform"),
        SamplerInfo("ddim_cfg_pp", "DDIM CFG++", _ALL_SCHEDULES, "ddim_uniform", "ddim_uniform"),
        SamplerInfo("ddpm", "DDPM", _ALL_SCHEDULES, "ddim_uniform", "ddim_uniform"),
        SamplerInfo("plms", "PLMS", _ALL_SCHEDULES, "ddim_uniform", "ddim_uniform", ("pndm",)),
        SamplerInfo("lcm", "LCM", _ALL_SCHEDULES, "sgm_uniform", "sgm_uniform"),
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


def resolve_sampler(sampler: str, schedule: str | None = None) -> SamplerChoice:
    """The canonical pair for names of A1111 or ComfyUI, combined ones ("DPM++ 2M Karras") included.

    Raises UnknownSampler with the nearest names, or with the schedules that the sampler takes.
    """
    name, glued = _split_schedule(sampler)
    entry = SAMPLERS[name]
    if schedule is not None and is_automatic(schedule):
        schedule = entry.automatic_schedule
    wanted = None if schedule is None else _find_schedule(schedule)
    if glued is not None and wanted is not None and glued != wanted:
        raise UnknownSampler(f"sampler {sampler!r} already says {glued}, but the schedule is {schedule!r}; keep one")
    wanted = wanted or glued
    if wanted is not None and wanted not in entry.schedules:
        takes = f"it takes {_join_names(entry.schedules)}" if entry.schedules else "it takes none"
        raise UnknownSampler(f"sampler {name} has no schedule {wanted}; {takes}")
    return SamplerChoice(name, wanted)


def canonical_names(sampler: str | None, schedule: str | None) -> tuple[str | None, str | None]:
    """The names of jobs for what an image states; a name that jobs lack stays as it is, and None stays None.

    A schedule comes from the name of the sampler ("DPM++ 2M Karras") where it is not stated apart.
    """
    name, glued = (_lookup_sampler(sampler) if sampler is not None else None) or (sampler, None)
    if schedule is not None and is_automatic(schedule):
        known = SAMPLERS.get(name or "")
        return name, glued or (known.automatic_schedule if known and known.automatic_schedule else schedule)
    if schedule is not None:
        return name, _SCHEDULE_NAMES.get(_normalize(schedule), schedule)
    return name, glued


def is_automatic(schedule: str) -> bool:
    """Whether a schedule is A1111's "Automatic": its choice for the sampler."""
    return _normalize(schedule) == "automatic"


def sampler_spellings(sampler: str) -> tuple[str, ...]:
    """The name that an image states, the name in jobs, and A1111's label."""
    name = canonical_names(sampler, None)[0] or sampler
    return (sampler, name, SAMPLERS[name].label) if name in SAMPLERS else (sampler,)


def schedule_spellings(schedule: str) -> tuple[str, ...]:
    """The name that an image states, the name in jobs, and A1111's label."""
    name = canonical_names(None, schedule)[1] or schedule
    return (schedule, name, SCHEDULES[name].label) if name in SCHEDULES else (schedule,)


def effective_schedule(choice: SamplerChoice) -> str | None:
    """The schedule that is used: the named one, else the sampler's default; None where it takes none."""
    return choice.schedule or SAMPLERS[choice.sampler].default_schedule


def with_a1111_definitions(choice: SamplerChoice) -> SamplerChoice:
    """The pair that gives A1111's levels, for a pair named in a text of A1111's."""
    return SamplerChoice(choice.sampler, _A1111_DEFINITIONS.get(choice.schedule or "", choice.schedule))


def a1111_labels(choice: SamplerChoice) -> tuple[str, str | None]:
    """A1111's "Sampler" and "Schedule type" for a canonical pair."""
    schedule = effective_schedule(choice)
    return SAMPLERS[choice.sampler].label, None if schedule is None else SCHEDULES[schedule].label


def _lookup_sampler(text: str) -> tuple[str, str | None] | None:
    """The canonical sampler, and the schedule that its name ends in; None for an unknown name."""
    plain = _normalize(text)
    if plain in _SAMPLER_NAMES:
        return _SAMPLER_NAMES[plain], None
    for suffix, schedule in _SCHEDULE_NAMES.items():
        stem = plain.removesuffix(suffix)
        if stem != plain and stem in _SAMPLER_NAMES:
            return _SAMPLER_NAMES[stem], schedule
    return None


def _split_schedule(text: str) -> tuple[str, str | None]:
    found = _lookup_sampler(text)
    if found is not None:
        return found
    plain = _normalize(text)
    close = difflib.get_close_matches(plain, _SAMPLER_NAMES, n=3, cutoff=0.5)
    names = list(dict.fromkeys(_SAMPLER_NAMES[match] for match in close)) or list(SAMPLERS)
    known = _join_names([SAMPLERS[name].label for name in names])
    raise UnknownSampler(f"there is no sampler {text!r}; {f'did you mean {known}?' if close else f'there are {known}'}")


def _find_schedule(text: str) -> str:
    plain = _normalize(text)
    if plain in _SCHEDULE_NAMES:
        return _SCHEDULE_NAMES[plain]
    close = difflib.get_close_matches(plain, _SCHEDULE_NAMES, n=3, cutoff=0.5)
    names = list(dict.fromkeys(_SCHEDULE_NAMES[match] for match in close))
    offer = f"did you mean {_join_names(names)}? There are" if close else "there are"
    raise UnknownSampler(f"there is no schedule {text!r}; {offer} {_join_names(list(SCHEDULES))}, automatic")


def _join_names(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
