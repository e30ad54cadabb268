"""One recipe, one picture: the same bytes always, watched and stopped between steps, honest when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionXLPipeline

from indexd.errors import CallCancelled, OutOfMemory, RenderFailed
from indexd.generate.verify_generator import verify_generator
from indexd.worker.calls import ModelSpec
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import SAMPLERS, SCHEDULES
from tests.models.generate.conftest import recipe_data

# Every schedule with every sampler is a thousand renders: all schedules with a sampler of one evaluation a step and one of two.
PAIRS = [(name, schedule) for name in ("dpmpp_2m", "dpmpp_2s_ancestral") for schedule in SCHEDULES]


def test_the_same_recipe_gives_the_same_bytes(studio: Any) -> None:
    first = studio()
    studio(seed=8, sampler="DPM++ 2M Karras", cfg=1.0)
    assert studio().encoded == first.encoded


def test_the_answered_recipe_is_complete_and_replays(studio: Any) -> None:
    made = studio(sampler="Euler a", job="3/1")
    answered = Recipe.model_validate(made.recipe)
    assert (answered.sampler, answered.schedule, answered.dtype) == ("euler_ancestral", None, "float32")
    assert answered.model is not None and answered.model.hash is not None
    assert len(answered.model.hash) == 10
    assert answered.software is not None and answered.software.startswith("indexd ")
    assert studio(**recipe_data(made)).encoded == made.encoded


def test_another_process_makes_the_same_bytes(studio: Any, tmp_path: Path) -> None:
    made = studio(steps=2)
    script = """
import sys, hashlib, torch
from indexd.generate.render import render
from indexd.models.model_pool import ModelPool
from indexd.worker.calls import FileRef, ModelSpec, Render, WorkerSettings
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey
torch.set_num_threads(1)
class Session:
    pool = ModelPool()
    settings = WorkerSettings({}, sys.argv[3])
    def spec(self, role): return ModelSpec(role, "", device="cpu", dtype="float32")
    def poll(self): pass
    def raise_if_cancelled(self): pass
    def progress(self, *_): pass
call = Render(Recipe.model_validate_json(sys.argv[1]), {FileKey("checkpoint", "tiny"): FileRef(sys.argv[2].encode())})
print(hashlib.sha256(render(call, Session()).encoded).hexdigest())
"""
    import hashlib

    arguments = [sys.executable, "-c", script, made.recipe.model_dump_json(), str(studio.models.sdxl), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=180)
    assert done.stdout.split()[-1] == hashlib.sha256(made.encoded).hexdigest()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_repeats_itself(studio: Any, sampler: str) -> None:
    made = studio(sampler=sampler, width=32, height=32)
    assert studio(sampler=sampler, width=32, height=32).encoded == made.encoded


@pytest.mark.parametrize(("sampler", "schedule"), PAIRS)
def test_every_schedule_makes_an_image(studio: Any, look: Any, sampler: str, schedule: str) -> None:
    made = studio(sampler=sampler, schedule=schedule, width=32, height=32)
    assert look(made).shape == (32, 32, 3)
    assert recipe_data(made)["schedule"] == schedule


@pytest.mark.parametrize(
    ("sampler", "build"),
    [
        ("euler", lambda config: EulerDiscreteScheduler.from_config(config, timestep_spacing="linspace")),
        (
            "DPM++ 2M Karras",
            lambda config: DPMSolverMultistepScheduler.from_config(
                config, use_karras_sigmas=True, timestep_spacing="linspace"
            ),
        ),
    ],
)
def test_pixels_are_those_of_the_bare_pipeline(
    studio: Any, look: Any, sampler: str, build: Callable[[Any], Any]
) -> None:
    bare = StableDiffusionXLPipeline.from_pretrained(studio.models.sdxl, dtype=torch.float32, add_watermarker=False)
    bare.set_progress_bar_config(disable=True)
    bare.scheduler = build(bare.scheduler.config)
    picture = bare(
        prompt="a red cat",
        negative_prompt="blurry",
        width=96,
        height=64,
        num_inference_steps=4,
        guidance_scale=5.0,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    difference = look(studio(sampler=sampler, width=96)).astype(int) - np.asarray(picture).astype(int)
    assert np.abs(difference).max() <= 1


def test_a_single_file_and_its_folder_give_the_same_pixels(studio: Any, look: Any) -> None:
    assert np.array_equal(look(studio(checkpoint=studio.models.single_file)), look(studio()))


def test_seeds_up_to_the_last_are_different_pictures(studio: Any) -> None:
    seeds = [0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
    assert len({studio(seed=seed, steps=1).encoded for seed in seeds}) == len(seeds)


def test_progress_counts_every_step(studio: Any) -> None:
    studio(steps=5)
    assert studio.session.seen[0] == ("load", 0, 1)
    assert studio.steps_seen() == [(done, 5) for done in range(1, 6)]
    assert studio.session.seen[-1] == ("decode", 0, 1)


def test_a_second_order_sampler_counts_steps(studio: Any) -> None:
    studio(steps=3, sampler="heun")
    assert studio.steps_seen() == [(1, 3), (2, 3), (3, 3)]


def test_cancel_takes_effect_within_one_step(studio: Any) -> None:
    before = studio(steps=6)
    studio.session.seen.clear()

    def cancel_in_the_third(_pause: int) -> None:
        if len(studio.steps_seen()) == 3:
            raise CallCancelled("cancelled")

    studio.session.on_pause = cancel_in_the_third
    with pytest.raises(CallCancelled):
        studio(steps=6)
    assert len(studio.steps_seen()) == 3
    studio.session.on_pause = lambda _n: None
    assert studio(steps=6).encoded == before.encoded


@pytest.mark.parametrize("stage", ["sampling", "decode", "first step"])
def test_cancel_takes_effect_between_the_blocks_of_a_network(studio: Any, stage: str) -> None:
    """A step, and the decoding, of a large image takes minutes: neither runs to its end."""
    before = studio(steps=2)
    studio.session.seen.clear()
    checks = studio.session.checks
    in_stage: list[int] = []

    def cancel_in_stage(check: int) -> None:
        reached = {
            "sampling": len(studio.steps_seen()) == 1,
            "decode": bool(studio.session.seen) and studio.session.seen[-1][0] == "decode",
            "first step": True,
        }
        if reached[stage]:
            in_stage.append(check)
        if len(in_stage) == 2:
            raise CallCancelled("cancelled")

    studio.session.on_check = cancel_in_stage
    with pytest.raises(CallCancelled):
        studio(steps=2)
    assert studio.session.checks - checks < checks
    assert len(studio.steps_seen()) == {"sampling": 1, "decode": 2, "first step": 0}[stage]
    studio.session.on_check = lambda _n: None
    assert studio(steps=2).encoded == before.encoded


def test_urgent_work_between_steps_leaves_the_picture_alone(studio: Any) -> None:
    before = studio()
    inner: list[bytes] = []

    def somebody_asks(_pause: int) -> None:
        torch.manual_seed(1)
        torch.randn(10)
        studio.resident().encoders.build_conditioning(
            "urgent", "", guided=False, clip_skip=None, adapters=()
        ).encode_ahead(1)
        inner.append(b"")

    studio.session.on_pause = somebody_asks
    assert studio().encoded == before.encoded
    assert len(inner) >= 4


def test_the_model_is_loaded_once(fresh_studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import indexd.generate.sdxl.pipeline as pipeline

    loads: list[tuple[Any, ...]] = []
    real = pipeline._load_folder

    def counted(*given: Any) -> Any:
        loads.append(given)
        return real(*given)

    monkeypatch.setattr(pipeline, "_load_folder", counted)
    fresh_studio(steps=1)
    fresh_studio(steps=1, seed=9)
    assert len(loads) == 1


def test_another_number_format_is_another_model_and_is_written_down(fresh_studio: Any) -> None:
    half = fresh_studio(dtype="bfloat16", steps=2)
    assert recipe_data(half)["dtype"] == "bfloat16"
    assert fresh_studio.resident().pipeline.unet.dtype == torch.bfloat16
    assert fresh_studio.resident().pipeline.vae.dtype == torch.float32
    assert fresh_studio(**recipe_data(half)).encoded == half.encoded


def test_out_of_memory_is_said_and_the_next_render_works(fresh_studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fresh_studio()

    def no_room(*_given: Any, **_named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(fresh_studio.resident().pipeline.unet, "forward", no_room)
        with pytest.raises(OutOfMemory, match="out of memory"):
            fresh_studio()
    assert fresh_studio().encoded == before.encoded


def test_out_of_memory_evicts_what_is_idle_and_goes_on(fresh_studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fresh_studio()
    with fresh_studio.session.pool.lease("idle", "idle", object, None):
        pass
    unet = fresh_studio.resident().pipeline.unet
    real, calls = unet.forward, []

    def no_room_in_the_second_step(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given, **named)

    monkeypatch.setattr(unet, "forward", no_room_in_the_second_step)
    assert fresh_studio().encoded == before.encoded
    assert len(fresh_studio.session.pool._residents) == 1


def test_latents_that_are_no_numbers_are_measured(fresh_studio: Any) -> None:
    fresh_studio(steps=1)
    with torch.no_grad():
        fresh_studio.resident().pipeline.unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(RenderFailed, match=r"denoise: 256 of 256 latent values are no numbers \(computed in float32\)"):
        fresh_studio(steps=1)


@pytest.mark.parametrize(
    ("bias", "words"), [(float("inf"), "pixel values are not numbers"), (-50.0, "every pixel is black")]
)
def test_a_picture_that_is_none_is_not_published(fresh_studio: Any, bias: float, words: str) -> None:
    fresh_studio(steps=1)
    with torch.no_grad():
        fresh_studio.resident().pipeline.vae.decoder.conv_out.bias.fill_(bias)
    with pytest.raises(RenderFailed, match=f"decode: .*{words}"):
        fresh_studio(steps=1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"clip_skip": 9}, "deeper than a text encoder"),
        ({"sampler": "eular"}, "did you mean"),
        ({"loras": [{"name": "gone"}]}, "LoRA gone has no file"),
        ({"dtype": "int4"}, "no number format"),
        ({"model": {"name": "tiny", "hash": "0123456789"}}, "checkpoint tiny is not the file"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(studio: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RenderFailed, match=words):
        studio(**fields)


def test_a_library_that_gives_up_names_the_stage(fresh_studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh_studio(steps=1)

    def broken(*_given: Any, **_named: Any) -> None:
        raise ValueError("a shape is wrong")

    monkeypatch.setattr(fresh_studio.resident().pipeline.vae, "decode", broken)
    with pytest.raises(RenderFailed, match="decode failed: ValueError: a shape is wrong"):
        fresh_studio(steps=1)


def test_verify_makes_a_picture(fresh_studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(fresh_studio.models.sdxl)
    monkeypatch.setattr(
        fresh_studio.session, "spec", lambda role: ModelSpec(role, path, device="cpu", dtype="float32"), raising=True
    )
    verified = verify_generator(fresh_studio.session)
    assert verified.identity.startswith("generator/")
    assert "float32 on cpu" in verified.detail
