"""Noise by the rules of ComfyUI and A1111, against the same rules written with torch's own generators."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from indexd.generate.sampling.noise_source import LevelRange, NoiseSource, noise_source, seeded_generator, slerp_noise
from indexd.generate.sampling.philox import CudaNormals
from indexd.generate.sampling.sampling_run import SamplingRun
from indexd_schemas.noise import RecipeNoise
from indexd_schemas.recipe import RecipeVariation
from tests.models.generate.conftest import recipe_data
from tests.support.sampler_runs import EPSILON_LEVELS

SHAPE = (1, 4, 8, 6)
LIKE = torch.zeros(SHAPE)
RANGE = LevelRange(0.03, 5.0, 14.6)


def source(name: Any, seed: int = 5, **options: Any) -> NoiseSource:
    return noise_source(RecipeNoise(source=name, **options), seed, EPSILON_LEVELS)


def randn(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=seeded_generator(seed))


def test_comfyui_starts_from_a_cpu_generator_and_steps_on_the_device() -> None:
    for name, step in (("comfyui", CudaNormals(5).randn(SHAPE)), ("comfyui_cpu", randn(6))):
        numbers = source(name)
        assert torch.equal(numbers.draw(SHAPE), randn(5))
        assert torch.equal(numbers.independent(LIKE)(2.0, 1.0), step)
        assert numbers.encoding_rng is None


def test_around_a_mask_comfyuis_ddim_has_noise_of_its_own() -> None:
    numbers = source("comfyui", batch_size=2, batch_index=1)
    noise = numbers.draw(SHAPE)
    assert torch.equal(numbers.around_mask("ddim", noise), randn(6, (2, *SHAPE[1:]))[1:2])
    assert numbers.around_mask("euler", noise) is noise
    assert source("a1111").around_mask("ddim", noise) is noise


def test_comfyui_draws_a_batch_at_once() -> None:
    whole = randn(5, (4, *SHAPE[1:]))
    numbers = source("comfyui", batch_size=4, batch_index=2)
    assert torch.equal(numbers.draw(SHAPE), whole[2:3])
    steps = numbers.independent(LIKE)
    gpu = CudaNormals(5)
    for _ in range(2):
        assert torch.equal(steps(2.0, 1.0), gpu.randn(whole.shape)[2:3])


def test_a1111_draws_start_and_steps_from_one_generator() -> None:
    chance, gpu = seeded_generator(5), CudaNormals(5)
    on_cpu, on_gpu = source("a1111_cpu"), source("a1111")
    expected = [torch.randn(SHAPE, generator=chance) for _ in range(3)]
    assert torch.equal(on_cpu.draw(SHAPE), expected[0])
    assert torch.equal(on_gpu.draw(SHAPE), gpu.randn(SHAPE))
    steps = on_cpu.independent(LIKE), on_gpu.independent(LIKE)
    for number in expected[1:]:
        assert torch.equal(steps[0](2.0, 1.0), number)
        assert torch.equal(steps[1](2.0, 1.0), gpu.randn(SHAPE))


def test_ensd_changes_the_noise_of_the_steps_alone() -> None:
    numbers = source("a1111", seed_delta=31337)
    assert torch.equal(numbers.draw(SHAPE), source("a1111").draw(SHAPE))
    assert torch.equal(numbers.independent(LIKE)(2.0, 1.0), CudaNormals(5 + 31337).randn(SHAPE))


@pytest.mark.parametrize(
    ("size", "inner"),
    [
        ("32x48", (slice(1, 7), slice(1, 5), slice(0, 6), slice(0, 4))),
        ("64x96", (slice(0, 8), slice(0, 6), slice(2, 10), slice(1, 7))),
    ],
)
def test_seed_resize_lays_the_noise_of_another_size_in_the_middle(size: str, inner: tuple[slice, ...]) -> None:
    width, height = (int(side) // 8 for side in size.split("x"))
    expected = randn(5)
    expected[..., inner[0], inner[1]] = randn(5, (1, 4, height, width))[..., inner[2], inner[3]]
    assert torch.equal(source("a1111_cpu", resize_from=size).draw(SHAPE), expected)


def test_a_variation_has_the_numbers_of_the_same_program() -> None:
    variation = RecipeVariation(seed=9, strength=0.3)
    gpu = slerp_noise(CudaNormals(5).randn(SHAPE), CudaNormals(9).randn(SHAPE), 0.3)
    assert torch.equal(source("a1111").draw(SHAPE, variation), gpu)
    assert torch.equal(source("comfyui").draw(SHAPE, variation), slerp_noise(randn(5), randn(9), 0.3))


def test_the_tree_is_torchsdes() -> None:
    torchsde = pytest.importorskip("torchsde")
    ends = {"comfyui": RANGE.highest, "a1111_cpu": RANGE.schedule_highest}
    for name, high in ends.items():
        tree = torchsde.BrownianTree(torch.tensor(RANGE.lowest), torch.zeros(SHAPE), torch.tensor(high), entropy=5)
        step = source(name).brownian(LIKE, RANGE)(4.0, 1.0)
        assert torch.allclose(step, -tree(torch.tensor(1.0), torch.tensor(4.0)) / 3**0.5, atol=1e-6)


def test_the_tree_of_a_gpu_has_its_numbers_and_leaves_torchsde_as_it_was() -> None:
    pytest.importorskip("torchsde")
    from torchsde._brownian import brownian_interval  # type: ignore[import-untyped]

    before = brownian_interval._randn
    sources = source("comfyui"), source("comfyui", brownian="gpu"), source("a1111"), source("a1111_cpu")
    draws = [one.brownian(LIKE, RANGE)(4.0, 1.0) for one in sources]
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[2], draws[3])
    assert brownian_interval._randn is before
    large = source("a1111").brownian(torch.zeros(1, 4, 60, 60), RANGE)(4.0, 1.0)
    assert float(large.std()) == pytest.approx(1, abs=0.03)


def test_noise_of_another_program_is_recorded_and_made_again(studio: Any) -> None:
    recipe = {"sampler": "dpmpp_2m_sde", "noise": {"source": "comfyui"}, "timesteps": "rounded"}
    made = studio(**recipe)
    assert recipe_data(made)["noise"]["source"] == "comfyui"
    assert made.notes == ()
    assert studio.render(made.recipe).encoded == made.encoded
    assert studio(sampler="dpmpp_2m_sde").encoded != made.encoded


def test_without_torchsde_a_note_and_the_recipe_name_the_replaced_noise(
    studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexd.generate.render.has_torchsde", lambda: False)
    made = studio(sampler="dpmpp_2m_sde", noise={"source": "comfyui"})
    assert recipe_data(made)["noise"]["brownian"] == "indexd"
    assert any("pip install 'indexd[torchsde]'" in note for note in made.notes)
    monkeypatch.undo()
    assert studio.render(made.recipe).encoded == made.encoded
    monkeypatch.setattr("indexd.generate.render.has_torchsde", lambda: False)
    assert studio(sampler="euler_ancestral", noise={"source": "comfyui"}).notes == ()


@pytest.mark.parametrize(
    ("sampler", "name", "spread"),
    [
        ("euler", "a1111", 14.6146),
        ("ddim", "a1111", 14.6488),
        ("euler", "comfyui", 14.6488),
        ("ddim", "indexd", 14.6488),
    ],
)
def test_the_first_noise_has_the_spread_of_the_program(sampler: str, name: str, spread: float) -> None:
    run = SamplingRun(sampler, (EPSILON_LEVELS.sigma_max, 0.0), EPSILON_LEVELS)
    numbers = source(name)
    assert float(run.initial_latents(None, torch.ones(1), numbers)) == pytest.approx(spread, rel=1e-4)
    has_latents = float(run.initial_latents(torch.zeros(1), torch.ones(1), numbers))
    assert has_latents == pytest.approx(14.6146 if name == "a1111" else 14.6488, rel=1e-4)
