"""The sampling loop: passes against diffusers' pipelines, masks, hooks on the UNet, and the formulas of guidance."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image

from indexd.generate.context import DenoiseTask
from indexd.generate.diffusion.conditioning import StepConditioning, TextConditioning
from indexd.generate.diffusion.denoise import DenoiseStart, denoise
from indexd.generate.sampling.noise_levels import TrainedNoise, noise_levels_for
from indexd.generate.sampling.noise_source import NoiseSource, noise_source, seeded_generator
from indexd.generate.sampling.sampling_run import Denoiser, SamplingRun
from indexd.generate.sampling.sigma_schedules import build_sigmas
from indexd.generate.sampling.step_position import StepPosition
from indexd.generate.sdxl.guided_unet import GuidedUnet, UnetCall
from indexd.generate.sdxl.pipeline import SdxlModel
from indexd.generate.sdxl.text_encoding import EncodedText
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import SAMPLERS, resolve_sampler
from tests.models.generate.conftest import recipe_data
from tests.models.generate.diffusers_reference import diffusers_scheduler

AGAINST_DIFFUSERS = ["euler", "heun", "dpmpp_2m"]


@pytest.fixture
def prepared(studio: Any) -> Any:
    """(task, conditioning) of a small render with the sampler that is asked for."""

    def prepare(sampler: str, schedule: str | None = None, **fields: Any) -> tuple[DenoiseTask, TextConditioning]:
        studio(steps=1, width=32, height=32)
        model = studio.resident()
        plain = studio.recipe(width=64, height=32, steps=4, sampler=sampler, schedule=schedule, **fields)
        recipe = Recipe.model_validate(plain)
        conditioning = model.encoders.build_conditioning(
            recipe.prompt, recipe.negative_prompt, guided=recipe.cfg > 1, clip_skip=None, adapters=()
        )
        return DenoiseTask(recipe, resolve_sampler(sampler, schedule), model, studio.session), conditioning

    return prepare


def unit(seed: int) -> torch.Tensor:
    return torch.randn((1, 4, 4, 8), generator=seeded_generator(seed))


def numbers(seed: int) -> NoiseSource:
    return noise_source(None, seed, noise_levels_for(TrainedNoise()))


def bare(
    kind: Any, task: DenoiseTask, conditioning: TextConditioning, chance: torch.Generator, **more: Any
) -> torch.Tensor:
    """The latents that the pipeline of diffusers makes with the same modules."""
    assert isinstance(task.model, SdxlModel)
    components = {**task.model.pipeline.components, "scheduler": diffusers_scheduler(task.choice.sampler)}
    pipeline = kind(**components)
    pipeline.set_progress_bar_config(disable=True)
    told = conditioning.at_step(StepPosition(0, 1))
    texts = {"prompt_embeds": told.positive[0][0].hidden, "pooled_prompt_embeds": told.positive[0][0].pooled}
    if told.negative is not None:
        texts |= {"negative_prompt_embeds": told.negative.hidden, "negative_pooled_prompt_embeds": told.negative.pooled}
    made: torch.Tensor = pipeline(
        **texts,
        num_inference_steps=task.recipe.steps,
        guidance_scale=task.recipe.cfg,
        generator=chance,
        output_type="latent",
        **more,
    ).images
    return made


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("sampler", AGAINST_DIFFUSERS)
def test_txt2img_is_that_of_the_pipeline(prepared: Any, sampler: str, cfg: float) -> None:
    task, conditioning = prepared(sampler, "karras", cfg=cfg)
    mine = denoise(task, conditioning, DenoiseStart(unit(3), numbers(5)))
    theirs = bare(
        StableDiffusionXLPipeline, task, conditioning, seeded_generator(5), latents=unit(3), width=64, height=32
    )
    assert float((mine - theirs).abs().max()) < 0.01 * float(mine.std())


@pytest.mark.parametrize("sampler", AGAINST_DIFFUSERS)
def test_img2img_over_the_same_levels_is_that_of_the_pipeline(prepared: Any, sampler: str) -> None:
    """The pipeline takes the last int(steps * strength) levels of its schedule: here 3 of 4, which are not those of 3 / 0.75."""
    task, conditioning = prepared(sampler, "karras")
    chance = numbers(5)
    noise = chance.draw((1, 4, 4, 8))
    levels = noise_levels_for(task.model.trained_noise)
    run = SamplingRun(sampler, build_sigmas("karras", levels, 4)[1:], levels)
    guided = GuidedUnet(task.model.pipeline.unet, conditioning, task.recipe.cfg, 0.0, (32, 64))
    mine = list(run.run(guided, run.initial_latents(unit(9), noise, chance), noise, chance, None))[-1]
    theirs = bare(
        StableDiffusionXLImg2ImgPipeline, task, conditioning, seeded_generator(5), image=unit(9), strength=0.75
    )
    assert float((mine - theirs).abs().max()) < 0.01 * float(mine.std())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_the_mask_covers_stays_exactly(prepared: Any, sampler: str) -> None:
    task, conditioning = prepared(sampler)
    mask = torch.zeros((1, 1, 4, 8))
    mask[..., 4:] = 1
    original = unit(9)
    start = DenoiseStart(unit(3), numbers(5), original, 0.75, mask)
    made = denoise(task, conditioning, start)
    assert torch.equal(made[..., :4], original[..., :4])
    free = denoise(task, conditioning, replace(start, source=numbers(5), mask=None))
    assert not torch.equal(made[..., 4:], original[..., 4:])
    assert not torch.equal(free[..., :4], original[..., :4])


@pytest.mark.parametrize(
    ("strength", "counting", "taken"), [(0.2, "taken", 4), (0.2, "a1111_img2img", 1), (0.0, "taken", 0)]
)
def test_a_pass_takes_all_its_steps_unless_a1111_counts(
    prepared: Any, studio: Any, strength: float, counting: Any, taken: int
) -> None:
    task, conditioning = prepared("euler", "karras")
    studio.session.seen.clear()
    start = DenoiseStart(unit(3), numbers(5), unit(9), strength, step_counting=counting)
    made = denoise(task, conditioning, start)
    assert studio.steps_seen() == [(done, taken) for done in range(1, taken + 1)]
    assert torch.equal(made, unit(9)) == (taken == 0)


def test_texts_switch_over_the_whole_schedule_where_a1111_counts(prepared: Any) -> None:
    """A1111's img2img counts its steps from 0, and its prompt switches are shares of all steps."""
    task, conditioning = prepared("euler", "karras")
    seen: dict[str, list[tuple[int, int]]] = {}
    for counting in ("taken", "a1111_img2img"):
        places = seen[counting] = []
        hook = SimpleNamespace(
            apply=lambda call, places=places: places.append((call.position.step, call.position.steps))
        )
        start = DenoiseStart(unit(3), numbers(5), unit(9), 0.5, step_counting=counting)
        denoise(task, conditioning, start, hooks=[hook])
    assert seen == {"taken": [(step, 4) for step in range(4)], "a1111_img2img": [(step, 4) for step in range(3)]}


def test_noise_at_the_highest_level_has_the_spread_of_noisy_latents() -> None:
    levels = noise_levels_for(TrainedNoise())
    runs = [SamplingRun("euler", build_sigmas(name, levels, 8), levels) for name in ("karras", "ddim_uniform")]
    scales = [float(run.initial_latents(None, torch.ones(1), numbers(5))) for run in runs]
    assert scales[0] == pytest.approx((1 + levels.sigma_max**2) ** 0.5)
    assert scales[1] == pytest.approx(runs[1].sigmas[0])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_means_the_same_picture(prediction: str) -> None:
    """The UNet's right answer for a known clean picture and noise leads back to that picture."""
    levels = noise_levels_for(TrainedNoise(prediction_type=prediction))
    clean, noise, sigma = unit(1), unit(2), 3.0
    alpha = 1 / (1 + sigma**2) ** 0.5
    answer = {"epsilon": noise, "sample": clean, "v_prediction": alpha * noise - alpha * sigma * clean}[prediction]
    assert torch.allclose(levels.predict_clean(answer, clean + sigma * noise, sigma), clean, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_every_prediction_of_an_edm_model_means_the_same_image(prediction: str) -> None:
    """c_skip and c_out by their formulas: for known clean latents and noise, the output that the model should give."""
    data, sigma = 0.5, 3.0
    levels = noise_levels_for(TrainedNoise(prediction_type=prediction, edm_sigmas=(0.002, 80.0), sigma_data=data))
    clean, noisy = unit(1), unit(1) + sigma * unit(2)
    skip, out = data**2 / (sigma**2 + data**2), sigma * data / (sigma**2 + data**2) ** 0.5
    output = (clean - skip * noisy) / (out if prediction == "epsilon" else -out)
    assert torch.allclose(levels.predict_clean(output, noisy, sigma), clean, atol=1e-5)
    assert float(levels.scale_input(torch.ones(1), sigma)) == pytest.approx(1 / (sigma**2 + data**2) ** 0.5)


def test_a_position_is_the_step_in_whose_levels_it_lies() -> None:
    nothing: Any = None
    levels = noise_levels_for(TrainedNoise())
    denoiser = Denoiser(nothing, levels, (8.0, 4.0, 1.0, 0.0), unit(1), None)
    asked = {9.0: 0, 8.0: 0, 5.0: 0, 4.0: 1, 2.0: 1, 1.0: 2, 0.01: 2}
    assert {sigma: denoiser._step_position(sigma) for sigma in asked} == {
        sigma: StepPosition(step, 3, levels.time_share(sigma)) for sigma, step in asked.items()
    }


def test_a_sampler_that_needs_the_negative_text_gets_it_at_any_cfg(studio: Any) -> None:
    sampler = "dpmpp_2m_cfg_pp"
    first = studio(sampler=sampler, cfg=1.0, steps=2, negative_prompt="blurry")
    assert studio(sampler=sampler, cfg=1.0, steps=2, negative_prompt="a dog").encoded != first.encoded
    plain = studio(sampler="dpmpp_2m", cfg=1.0, steps=2, negative_prompt="blurry")
    answered = {**recipe_data(plain), "negative_prompt": "a dog"}
    assert pixels_of(studio(**answered)) == pixels_of(plain)


def pixels_of(made: Any) -> bytes:
    with Image.open(io.BytesIO(made.encoded)) as picture:
        return picture.tobytes()


def test_rescale_and_cfg_pp_change_the_picture_and_are_written_down(studio: Any) -> None:
    plain = studio(sampler="euler", steps=2)
    rescaled = studio(sampler="euler", steps=2, cfg_rescale=0.7)
    assert pixels_of(rescaled) != pixels_of(plain)
    assert b"CFG Rescale: 0.7" in rescaled.encoded
    assert b"CFG Rescale" not in plain.encoded


def test_a_mask_of_ones_changes_nothing(prepared: Any) -> None:
    task, conditioning = prepared("dpmpp_2m")
    start = DenoiseStart(unit(3), numbers(5), unit(9), 0.75)
    with_mask = replace(start, mask=torch.ones((1, 1, 4, 8)))
    assert torch.equal(denoise(task, conditioning, with_mask), denoise(task, conditioning, start))


def test_a_mask_without_a_picture_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="a mask needs the latents"):
        DenoiseStart(unit(3), numbers(5), mask=torch.ones((1, 1, 4, 8)))


class Nudge:
    """An influence that changes what the UNet is told in the first half of the run."""

    def __init__(self, amount: float) -> None:
        self.amount = amount
        self.fractions: list[float] = []

    def apply(self, call: UnetCall) -> None:
        assert call.guided and len(call.latents) == len(call.hidden) == len(call.time_ids) == 2
        self.fractions.append(call.position.fraction)
        if call.position.fraction < 0.5:
            call.hidden = call.hidden + self.amount


def test_an_influence_sees_every_evaluation_and_changes_the_picture(prepared: Any) -> None:
    task, conditioning = prepared("euler")
    plain = denoise(task, conditioning, DenoiseStart(unit(3), numbers(5)))
    nudge = Nudge(1.0)
    nudged = denoise(task, conditioning, DenoiseStart(unit(3), numbers(5)), hooks=[nudge])
    assert nudge.fractions == [0.0, 0.25, 0.5, 0.75]
    assert not torch.equal(nudged, plain)
    assert torch.equal(denoise(task, conditioning, DenoiseStart(unit(3), numbers(5)), hooks=[Nudge(0.0)]), plain)


def test_residuals_of_several_controls_add_up() -> None:
    none = torch.zeros(1)
    call = UnetCall(none, none, none, none, none, guided=False, position=StepPosition(0, 1))
    call.add_residuals([torch.ones(2)], torch.ones(3))
    call.add_residuals([torch.full((2,), 2.0)], torch.full((3,), 4.0))
    assert call.down_residuals is not None and call.mid_residual is not None
    assert (call.down_residuals[0].tolist(), call.mid_residual.tolist()) == ([3.0, 3.0], [5.0, 5.0, 5.0])


def text(value: float) -> EncodedText:
    return EncodedText(torch.full((1, 1, 2), value), torch.full((1, 2), value))


def told_unet(latents: torch.Tensor, _t: Any, encoder_hidden_states: torch.Tensor, **_named: Any) -> list[torch.Tensor]:
    """Answers each row with its text's number times the latents."""
    return [latents * encoder_hidden_states[:, :1, :1, None]]


def guided(told: StepConditioning, cfg: float, rescale: float = 0.0) -> torch.Tensor:
    unet: Any = lambda *given, **named: told_unet(*given, **named)  # noqa: E731
    unet.config = SimpleNamespace(time_cond_proj_dim=None)
    conditioning: Any = SimpleNamespace(at_step=lambda _position: told)
    latents = torch.tensor([1.0, -1.0, 2.0, 0.0]).view(1, 1, 2, 2)
    model = GuidedUnet(unet, conditioning, cfg, rescale, (64, 64))
    return model.with_negative(latents, torch.tensor(1), StepPosition(0, 1))[0].flatten()


def test_several_texts_are_each_guided_away_from_the_negative() -> None:
    # 1 + 3 * (0.5 * (2 - 1) + 1 * (4 - 1)) = 11.5
    told = StepConditioning(((text(2.0), 0.5), (text(4.0), 1.0)), text(1.0))
    assert guided(told, 3.0).tolist() == [11.5, -11.5, 23.0, 0.0]


def test_rescale_brings_the_spread_of_the_text_back() -> None:
    told = StepConditioning(((text(2.0), 1.0),), text(1.0))
    plain = guided(told, 5.0)  # 1 + 5 * (2 - 1) = 6 times the latents; the text alone is 2 times
    assert torch.allclose(guided(told, 5.0, 1.0), plain / 3)
    assert torch.allclose(guided(told, 5.0, 0.5), plain * (0.5 / 3 + 0.5))


def test_unguided_texts_are_averaged_by_weight() -> None:
    told = StepConditioning(((text(2.0), 1.0), (text(6.0), 3.0)), None)
    assert guided(told, 1.0).tolist() == [5.0, -5.0, 10.0, 0.0]
