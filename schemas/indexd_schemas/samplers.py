"""Samplers and schedules by every common name, without torch: A1111's labels and ComfyUI's ids -> one canonical pair.

The canonical names are ComfyUI's. Only what diffusers really has is offered; names that A1111 or ComfyUI know and
diffusers has no class for are refused as such, not as typing errors. What a pair does to the scheduler's flags stands
in `indexd/generate/samplers.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass


class UnknownSampler(ValueError):
    """A sampler or schedule that cannot be used; the text says what can."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A spacing of the noise levels. `label` is A1111's "Schedule type"."""

    name: str
    label: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler. `own` is the schedule used when none is named, `automatic` the one A1111 means by "Automatic".

    `max_steps` is a hard limit of the sampler itself; None = no limit.
    """

    name: str
    label: str
    schedules: tuple[str, ...]
    own: str | None
    automatic: str | None
    aliases: tuple[str, ...] = ()
    max_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A possible pair by canonical names; `schedule` None = the sampler's own."""

    sampler: str
    schedule: str | None


SCHEDULES: Mapping[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Schedule("normal", "Normal", ("uniform", "linspace")),
        Schedule("karras", "Karras"),
        Schedule("exponential", "Exponential"),
        Schedule("beta", "Beta"),
        Schedule("sgm_uniform", "SGM Uniform"),
        Schedule("simple", "Simple", ("trailing",)),
        Schedule("ddim_uniform", "DDIM", ("leading",)),
    )
}

_SPACINGS = ("normal", "sgm_uniform", "simple", "ddim_uniform")
_SIGMAS = ("normal", "karras", "exponential", "beta", "sgm_uniform", "simple")
_ENDS_AT_SIGMA_MIN = ("normal", "karras", "exponential", "sgm_uniform", "simple")
_ALL = (*_SIGMAS, "ddim_uniform")

SAMPLERS: Mapping[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler("euler", "Euler", _ALL, "normal", "normal", ("k_euler",)),
        Sampler("euler_ancestral", "Euler a", _SPACINGS, "normal", "normal", ("k_euler_a", "k_euler_ancestral")),
        Sampler("heun", "Heun", _ALL, "normal", "normal", ("k_heun",)),
        Sampler("dpm_2", "DPM2", _ALL, "normal", "karras", ("k_dpm_2",)),
        Sampler("dpm_2_ancestral", "DPM2 a", _ALL, "normal", "karras", ("k_dpm_2_a", "k_dpm_2_ancestral")),
        Sampler("lms", "LMS", _ALL, "normal", "normal", ("k_lms",)),
        Sampler("dpmpp_2m", "DPM++ 2M", _SIGMAS, "normal", "karras", ("k_dpmpp_2m",)),
        Sampler("dpmpp_2m_sde", "DPM++ 2M SDE", _SIGMAS, "normal", "exponential", ("dpmpp_2m_sde_gpu",)),
        Sampler("dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun", _SIGMAS, "normal", "exponential", ("dpmpp_2m_sde_heun_gpu",)),
        Sampler("dpmpp_3m_sde", "DPM++ 3M SDE", _SIGMAS, "normal", "exponential", ("dpmpp_3m_sde_gpu",)),
        Sampler("uni_pc", "UniPC", _SIGMAS, "normal", "normal"),
        Sampler("uni_pc_bh2", "UniPC bh2", _SIGMAS, "normal", "normal"),
        Sampler("deis", "DEIS", _ENDS_AT_SIGMA_MIN, "normal", "normal"),
        Sampler("sa_solver", "SA Solver", _ENDS_AT_SIGMA_MIN, "normal", "normal"),
        Sampler("ddim", "DDIM", _SPACINGS, "ddim_uniform", "ddim_uniform"),
        Sampler("ddpm", "DDPM", _SPACINGS, "ddim_uniform", "ddim_uniform"),
        Sampler("plms", "PLMS", _SPACINGS, "ddim_uniform", "ddim_uniform", ("pndm",)),
        Sampler("lcm", "LCM", (), None, None, max_steps=50),
    )
}

NOT_HERE: Mapping[str, str] = {
    "DPM++ SDE": "dpmpp_2m_sde",
    "dpmpp_sde": "dpmpp_2m_sde",
    "dpmpp_sde_gpu": "dpmpp_2m_sde",
    "DPM++ 2S a": "dpm_2_ancestral",
    "dpmpp_2s_ancestral": "dpm_2_ancestral",
    "DPM fast": "dpmpp_2m",
    "DPM adaptive": "dpmpp_2m",
    "Restart": "heun",
    "heunpp2": "heun",
    "ipndm": "lms",
    "ipndm_v": "lms",
    "res_multistep": "dpmpp_2m",
    "gradient_estimation": "euler",
    "er_sde": "dpmpp_2m_sde",
    "seeds_2": "dpmpp_2m_sde",
    "seeds_3": "dpmpp_3m_sde",
    "euler_cfg_pp": "euler",
    "euler_ancestral_cfg_pp": "euler_ancestral",
    "dpmpp_2m_cfg_pp": "dpmpp_2m",
    "dpmpp_2s_ancestral_cfg_pp": "dpm_2_ancestral",
    "DDIM CFG++": "ddim",
    "sa_solver_pece": "sa_solver",
}
"""Names other programs know for which diffusers has no usable class -> the nearest sampler that is here."""

SCHEDULES_NOT_HERE = (
    "Polyexponential",
    "KL Optimal",
    "Align Your Steps",
    "Align Your Steps GITS",
    "Turbo",
    "linear_quadratic",
)
"""Schedules other programs know and diffusers does not."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("++", "pp"))


def _table(entries: Mapping[str, Sampler] | Mapping[str, Schedule]) -> dict[str, str]:
    return {
        _plain(name): entry.name for entry in entries.values() for name in (entry.name, entry.label, *entry.aliases)
    }


_SAMPLER_NAMES = _table(SAMPLERS)
_SCHEDULE_NAMES = _table(SCHEDULES)
_NOT_HERE = {_plain(name): (name, nearest) for name, nearest in NOT_HERE.items()}
_SCHEDULES_NOT_HERE = {_plain(name): name for name in SCHEDULES_NOT_HERE}


def resolve(sampler: str, schedule: str | None = None, steps: int | None = None) -> Choice:
    """The canonical pair for names as A1111 or ComfyUI write them, glued ones ("DPM++ 2M Karras") included.

    Raises UnknownSampler with the nearest names, the schedules that the sampler takes, or its limit of steps.
    """
    name, glued = _split(sampler)
    entry = SAMPLERS[name]
    if schedule is not None and _plain(schedule) == "automatic":
        schedule = entry.automatic
    wanted = None if schedule is None else _schedule(schedule)
    if glued is not None and wanted is not None and glued != wanted:
        raise UnknownSampler(f"sampler {sampler!r} already says {glued}, but the schedule is {schedule!r}; keep one")
    wanted = wanted or glued
    if wanted is not None and wanted not in entry.schedules:
        takes = f"it takes {_list(entry.schedules)}" if entry.schedules else "it takes none"
        raise UnknownSampler(f"sampler {name} has no schedule {wanted}; {takes}")
    if steps is not None and entry.max_steps is not None and steps > entry.max_steps:
        raise UnknownSampler(f"sampler {name} takes at most {entry.max_steps} steps (got {steps})")
    return Choice(name, wanted)


def nearest(sampler: str) -> Choice | None:
    """What comes nearest to a sampler that other programs know and that is not here; a glued schedule ("DPM++ SDE Karras")
    is kept where that takes it. None for every other name."""
    plain = _plain(sampler)
    for suffix, schedule in (("", None), *_SCHEDULE_NAMES.items()):
        known = _NOT_HERE.get(plain.removesuffix(suffix)) if plain.endswith(suffix) else None
        if known is not None:
            taken = schedule in SAMPLERS[known[1]].schedules
            return Choice(known[1], schedule if taken else None)
    return None


def effective_schedule(choice: Choice) -> str | None:
    """The schedule that is really used: the named one, else the sampler's own; None where there is nothing to choose."""
    return choice.schedule or SAMPLERS[choice.sampler].own


def labels(choice: Choice) -> tuple[str, str | None]:
    """A1111's "Sampler" and "Schedule type" for a canonical pair."""
    schedule = effective_schedule(choice)
    return SAMPLERS[choice.sampler].label, None if schedule is None else SCHEDULES[schedule].label


def _split(text: str) -> tuple[str, str | None]:
    plain = _plain(text)
    if plain in _SAMPLER_NAMES:
        return _SAMPLER_NAMES[plain], None
    for suffix, schedule in _SCHEDULE_NAMES.items():
        stem = plain.removesuffix(suffix)
        if stem != plain and stem in _SAMPLER_NAMES:
            return _SAMPLER_NAMES[stem], schedule
    if plain in _NOT_HERE:
        name, nearest = _NOT_HERE[plain]
        raise UnknownSampler(f"sampler {name} has no implementation here; the nearest is {nearest}")
    close = difflib.get_close_matches(plain, _SAMPLER_NAMES, n=3, cutoff=0.5)
    names = list(dict.fromkeys(_SAMPLER_NAMES[match] for match in close)) or list(SAMPLERS)
    known = _list([SAMPLERS[name].label for name in names])
    raise UnknownSampler(f"there is no sampler {text!r}; {'did you mean' if close else 'there are'} {known}")


def _schedule(text: str) -> str:
    plain = _plain(text)
    if plain in _SCHEDULE_NAMES:
        return _SCHEDULE_NAMES[plain]
    if plain in _SCHEDULES_NOT_HERE:
        raise UnknownSampler(
            f"schedule {_SCHEDULES_NOT_HERE[plain]} has no implementation here; there are {_list(list(SCHEDULES))}"
        )
    raise UnknownSampler(f"there is no schedule {text!r}; there are {_list(list(SCHEDULES))}, automatic")


def _list(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
