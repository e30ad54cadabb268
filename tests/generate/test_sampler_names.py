"""The torch-free table: every name that people use, and refusals that say what can be used."""

from __future__ import annotations

import pytest

from indexd_schemas.samplers import NOT_HERE, SAMPLERS, SCHEDULES, Choice, UnknownSampler, labels, resolve


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
        ("LCM", "Automatic", ("lcm", None)),
        ("DPM2 a", "SGM Uniform", ("dpm_2_ancestral", "sgm_uniform")),
        ("uni_pc", "normal", ("uni_pc", "normal")),
        ("DDIM", None, ("ddim", None)),
        ("DPM++ 2M Karras", "karras", ("dpmpp_2m", "karras")),
    ],
)
def test_names_of_other_programs_are_understood(
    written: str, schedule: str | None, meant: tuple[str, str | None]
) -> None:
    assert resolve(written, schedule) == Choice(*meant)


@pytest.mark.parametrize("name", SAMPLERS)
def test_labels_lead_back_to_the_pair(name: str) -> None:
    for schedule in SAMPLERS[name].schedules:
        sampler_label, schedule_label = labels(Choice(name, schedule))
        assert resolve(sampler_label, schedule_label) == Choice(name, schedule)


def test_every_schedule_named_by_a_sampler_exists() -> None:
    for sampler in SAMPLERS.values():
        assert set(sampler.schedules) <= set(SCHEDULES)
        assert (sampler.own in sampler.schedules) == bool(sampler.schedules)
        assert (sampler.automatic in sampler.schedules) == bool(sampler.schedules)


@pytest.mark.parametrize(
    ("sampler", "schedule", "steps", "words"),
    [
        ("eular", None, None, ["eular", "did you mean", "Euler"]),
        ("zzzz", None, None, ["zzzz", "there are", "DPM++ 2M", "LCM"]),
        ("Euler a", "karras", None, ["euler_ancestral", "karras", "it takes normal, sgm_uniform"]),
        ("euler_ancestral_karras", None, None, ["it takes"]),
        ("euler", "wavy", None, ["wavy", "karras"]),
        ("euler", "KL Optimal", None, ["KL Optimal", "no implementation"]),
        ("DPM++ SDE", None, None, ["no implementation", "dpmpp_2m_sde"]),
        ("DPM++ 2M Karras", "beta", None, ["already says karras", "beta"]),
        ("lcm", "karras", None, ["it takes none"]),
        ("lcm", None, 51, ["at most 50", "51"]),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(
    sampler: str, schedule: str | None, steps: int | None, words: list[str]
) -> None:
    with pytest.raises(UnknownSampler) as refusal:
        resolve(sampler, schedule, steps)
    assert [word for word in words if word not in str(refusal.value)] == []


@pytest.mark.parametrize("name", NOT_HERE)
def test_names_without_an_implementation_point_to_one_that_is_here(name: str) -> None:
    assert NOT_HERE[name] in SAMPLERS
    with pytest.raises(UnknownSampler, match=NOT_HERE[name]):
        resolve(name)
