"""The torch-free table: every name that people use, and refusals that say what can be used."""

from __future__ import annotations

import pytest

from indexd_schemas.samplers import (
    SAMPLERS,
    SCHEDULES,
    SamplerChoice,
    UnknownSampler,
    a1111_labels,
    resolve_sampler,
    with_a1111_definitions,
)


@pytest.mark.parametrize(
    ("written", "schedule", "meant"),
    [
        ("Euler a", None, ("euler_ancestral", None)),
        ("euler_ancestral", None, ("euler_ancestral", None)),
        ("k_euler_a", None, ("euler_ancestral", None)),
        ("DPM++ 2M Karras", None, ("dpmpp_2m", "karras")),
        ("dpmpp_2m", "karras", ("dpmpp_2m", "karras")),
        ("dpmpp_2m_sde_gpu", "exponential", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2M SDE Heun Exponential", None, ("dpmpp_2m_sde_heun", "exponential")),
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("Euler", "automatic", ("euler", "normal")),
        ("LCM", "Automatic", ("lcm", "sgm_uniform")),
        ("Euler", "Beta", ("euler", "beta")),
        ("Euler", "KL Optimal A1111", ("euler", "kl_optimal_a1111")),
        ("DPM2 a", "SGM Uniform", ("dpm_2_ancestral", "sgm_uniform")),
        ("uni_pc", "normal", ("uni_pc", "normal")),
        ("DDIM", None, ("ddim", None)),
        ("DPM++ SDE Karras", None, ("dpmpp_sde", "karras")),
        ("DPM++ 2S a", "Automatic", ("dpmpp_2s_ancestral", "karras")),
        ("DDIM CFG++", None, ("ddim_cfg_pp", None)),
        ("DPM adaptive", "Automatic", ("dpm_adaptive", None)),
        ("Restart", None, ("restart", None)),
        ("dpmpp_2m polyexponential", None, ("dpmpp_2m", "polyexponential")),
        ("Euler a", "Align Your Steps GITS", ("euler_ancestral", "align_your_steps_gits")),
        ("DPM++ 2M Karras", "karras", ("dpmpp_2m", "karras")),
    ],
)
def test_names_of_other_programs_are_understood(
    written: str, schedule: str | None, meant: tuple[str, str | None]
) -> None:
    assert resolve_sampler(written, schedule) == SamplerChoice(*meant)


@pytest.mark.parametrize("name", SAMPLERS)
def test_labels_lead_back_to_the_pair(name: str) -> None:
    for schedule in SAMPLERS[name].schedules:
        sampler_label, schedule_label = a1111_labels(SamplerChoice(name, schedule))
        assert resolve_sampler(sampler_label, schedule_label) == SamplerChoice(name, schedule)


def test_every_schedule_named_by_a_sampler_exists() -> None:
    for sampler in SAMPLERS.values():
        assert set(sampler.schedules) <= set(SCHEDULES)
        for named in (sampler.default_schedule, sampler.automatic_schedule):
            assert named is None or named in sampler.schedules


@pytest.mark.parametrize(
    ("sampler", "schedule", "words"),
    [
        ("eular", None, ["eular", "did you mean", "Euler"]),
        ("zzzz", None, ["zzzz", "there are", "DPM++ 2M", "LCM"]),
        ("Restart", "beta", ["it takes karras"]),
        ("euler", "wavy", ["wavy", "karras"]),
        ("euler", "karas", ["karas", "did you mean karras"]),
        ("DPM++ 2M Karras", "beta", ["already says karras", "beta"]),
        ("DPM fast", "karras", ["it takes none"]),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(sampler: str, schedule: str | None, words: list[str]) -> None:
    with pytest.raises(UnknownSampler) as refusal:
        resolve_sampler(sampler, schedule)
    assert [word for word in words if word not in str(refusal.value)] == []


def test_a_pair_named_by_a1111_gets_its_definitions() -> None:
    chosen = [with_a1111_definitions(SamplerChoice("euler", name)) for name in ("beta", "kl_optimal", "karras", None)]
    assert [choice.schedule for choice in chosen] == ["beta_a1111", "kl_optimal_a1111", "karras", None]
    assert {choice.sampler for choice in chosen} == {"euler"}
