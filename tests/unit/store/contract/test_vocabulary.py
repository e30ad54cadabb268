"""Samplers, schedules and models are found and counted by any of the names that programs give them."""

from __future__ import annotations

import pytest

from indexd.store.protocols import IndexStore
from indexd.store.records import Filter
from tests.unit.store.sample_rows import Library

SAMPLED = {
    "a1111": ("DPM++ 2M", "Karras"),
    "glued": ("DPM++ 2M Karras", None),
    "invokeai": ("dpmpp_2m_k", None),
    "automatic": ("DPM++ 2M", "Automatic"),
    "comfyui": ("dpmpp_2m", "sgm_uniform"),
    "swarmui": ("dpmpp_2m_sde_gpu", "karras"),
    "unstated": ("Euler a", None),
    "foreign": ("res_2s", "bong_tangent"),
    "nothing": (None, None),
}


@pytest.fixture
def sampled(store: IndexStore, library: Library) -> dict[int, str]:
    return {
        library.add(f"{name}.png", sampler=sampler, schedule=schedule): name
        for name, (sampler, schedule) in SAMPLED.items()
    }


def _found(store: IndexStore, names: dict[int, str], key: str, value: str) -> set[str]:
    ids = store.filters.ids([Filter(key, "=", value)])
    assert ids is not None
    return {names[image_id] for image_id in ids}


KARRAS = {"a1111", "glued", "invokeai", "automatic", "swarmui"}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("sampler", "DPM++ 2M", {"a1111", "glued", "invokeai", "automatic", "comfyui"}),
        ("sampler", "dpmpp_2m", {"a1111", "glued", "invokeai", "automatic", "comfyui"}),
        ("sampler", "DPM++ 2M Karras", KARRAS - {"swarmui"}),
        ("sampler", "DPM++ 2M SDE", {"swarmui"}),
        ("sampler", "k_euler_a", {"unstated"}),
        ("sampler", "dpmpp_2m_sde*", {"swarmui"}),
        ("sampler", "DPM++*", {"a1111", "glued", "invokeai", "automatic", "comfyui", "swarmui"}),
        ("sampler", "RES_2S", {"foreign"}),
        ("sampler", "2m", set()),
        ("schedule", "karras", KARRAS),
        ("schedule", "Karras", KARRAS),
        ("schedule", "kar*", KARRAS),
        ("schedule", "SGM Uniform", {"comfyui"}),
        ("schedule", "Automatic", {"automatic"}),
        ("schedule", "bong_tangent", {"foreign"}),
        ("schedule", "normal", set()),
    ],
)
def test_a_sampler_and_a_schedule_are_found_by_any_name(
    store: IndexStore, sampled: dict[int, str], key: str, value: str, expected: set[str]
) -> None:
    assert _found(store, sampled, key, value) == expected


def test_statistics_count_samplers_and_schedules_by_the_names_of_jobs(
    store: IndexStore, sampled: dict[int, str]
) -> None:
    def counted(key: str) -> list[tuple[str, int]]:
        return [(one.value, one.images) for one in store.statistics.counts_by(key, None)]

    assert counted("sampler") == [("dpmpp_2m", 5), ("dpmpp_2m_sde", 1), ("euler_ancestral", 1), ("res_2s", 1)]
    assert counted("schedule") == [("karras", 5), ("bong_tangent", 1), ("sgm_uniform", 1)]
    assert store.statistics.count_with_value("sampler", None) == 8
    assert store.statistics.count_with_value("schedule", None) == 7


MODELS = {
    "bare": ("Pony V6", None),
    "file": ("SDXL\\pony v6.safetensors", "67ab2fd8ec"),
    "hashed": ("Pony V6 [67ab2fd8ec]", None),
    "sha256": ("Pony V6.ckpt", "67AB2FD8EC439A89B3FEDB15CC65F54336AF163C7EB5E4F2ACC98F090A29B0B3"),
    "retrained": ("sd15/Pony V6", "ffffffffff"),
    "other": ("Pony V6 turbo", None),
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("pony v6", {"bare", "file", "hashed", "sha256", "retrained"}),
        ("Pony V6.safetensors", {"bare", "file", "hashed", "sha256", "retrained"}),
        ("SDXL/pony v6", {"bare", "file", "hashed", "sha256"}),
        ("/models/sdxl/pony v6.gguf", {"bare", "file", "hashed", "sha256"}),
        ("Pony V6 [67ab2fd8ec]", {"bare", "file", "hashed", "sha256"}),
        ("67ab2fd8ec", {"file", "sha256"}),
        ("67AB2FD8EC439A89B3FEDB15CC65F54336AF163C7EB5E4F2ACC98F090A29B0B3", {"file", "sha256"}),
        ("pony*", set(MODELS)),
        ("*turbo.safetensors", {"other"}),
        ("SDXL\\*", {"file"}),
        ("deadbeef00", set()),
    ],
)
def test_a_model_is_found_with_and_without_folder_ending_and_hash(
    store: IndexStore, library: Library, value: str, expected: set[str]
) -> None:
    names = {
        library.add(f"{key}.png", model_name=name, model_hash=digest): key for key, (name, digest) in MODELS.items()
    }
    assert _found(store, names, "model", value) == expected


def test_statistics_count_a_model_once_under_its_most_frequent_name(store: IndexStore, library: Library) -> None:
    for number, name in enumerate(("pony", "PONY.safetensors", "PONY.safetensors", "xl/pony [67ab2fd8ec]", "other")):
        library.add(f"{number}.png", model_name=name)
    assert [(one.value, one.images) for one in store.statistics.counts_by("model", None)] == [("PONY", 4), ("other", 1)]
