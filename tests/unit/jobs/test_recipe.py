"""A recipe is checked where it is built, and nowhere else."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from indexd_schemas.jobs.job_values import JobNoise
from indexd_schemas.jobs.stages import HiresRecipe, ResizeRecipe
from indexd_schemas.noise import RecipeNoise
from indexd_schemas.recipe import Recipe
from tests.support.recipes import recipe

SOURCE = {"hash": "ab", "name": "in.png", "denoise": 0.5}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 65}, "size 65x8: both sides must be multiples of 8"),
        ({"height": 0}, "greater than or equal to 1"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"cfg": float("nan")}, "finite number"),
        ({"cfg_rescale": 1.5}, "less than or equal to 1"),
        ({"clip_skip": 0}, "greater than or equal to 1"),
        ({"variation": {"seed": 1, "strength": 2.0}}, "less than or equal to 1"),
        ({"kind": "img2img"}, "img2img needs a source image"),
        ({"kind": "img2img", "input": {**SOURCE, "denoise": 1.5}}, "less than or equal to 1"),
        ({"kind": "inpaint", "input": SOURCE}, "inpaint needs a mask"),
        ({"loras": [{"name": "x", "weight": 11.0}]}, "less than or equal to 10"),
        ({"loras": [{"name": "x", "blocks": {"out9": 1.0}}]}, "there is no block 'out9'"),
        (
            {"control": [{"type": "cany", "model": {"name": "m"}, "image": "ab", "image_name": "x"}]},
            "no control type 'cany'",
        ),
        (
            {
                "control": [
                    {"type": "canny", "model": {"name": "m"}, "image": "ab", "image_name": "x", "start": 1, "end": 0}
                ]
            },
            "start must not lie after end",
        ),
        ({"stages": [{"stage": "blur"}]}, "there is no render stage 'blur'"),
        ({"stages": [{"stage": "refine", "denoise": 2.0, "tile": 64, "overlap": 16}]}, "less than or equal to 1"),
        (
            {
                "kind": "inpaint",
                "input": SOURCE,
                "mask": {"box": [0, 0, 1, 1]},
                "stages": [{"stage": "hires", "width": 64, "height": 64, "denoise": 0.5}],
            },
            "its latents cannot grow",
        ),
    ],
)
def test_what_no_render_could_carry_out_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        recipe(**fields)


def test_a_finished_image_and_one_with_a_mask_may_have_any_size() -> None:
    assert recipe(kind="upscale", input=SOURCE, width=101, height=77).starts_finished
    assert recipe(kind="inpaint", input=SOURCE, mask={"box": [0, 0, 1, 1]}, width=101, height=77).width == 101
    with pytest.raises(ValidationError, match="multiples of 8"):
        recipe(kind="inpaint", input=SOURCE, mask={"box": [0, 0, 1, 1], "only_masked": True}, width=101, height=77)


def test_stages_keep_their_types_through_json_and_pickle() -> None:
    made = recipe(stages=[HiresRecipe(width=64, height=64, upscaler="latent", denoise=0.5), ResizeRecipe(scale=2.0)])
    for again in (Recipe.model_validate_json(made.model_dump_json()), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert [type(stage) for stage in again.stages] == [HiresRecipe, ResizeRecipe]


def test_it_names_every_file_that_a_render_reads() -> None:
    made = recipe(
        kind="img2img",
        input=SOURCE,
        vae={"name": "v"},
        loras=[{"name": "l"}],
        embeddings=[{"name": "e", "hash": "0"}],
        control=[{"type": "canny", "model": {"name": "c"}, "image": "cd", "image_name": "x.png"}],
        reference=[{"model": {"name": "r"}, "image": "ab", "image_name": "in.png"}],
        stages=[
            {"stage": "hires", "width": 64, "height": 64, "model": {"name": "u"}, "denoise": 0.5},
            {"stage": "resize", "scale": 2.0},
        ],
    )
    assert {tuple(key) for key in made.file_keys()} == {
        ("checkpoint", "m"), ("vae", "v"), ("lora", "l"), ("embedding", "e"), ("controlnet", "c"), ("ip_adapter", "r"),
        ("upscaler", "u"), ("image", "ab"), ("image", "cd"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"source": "indexd", "seed_delta": 5}, "belong to A1111's noise"),
        ({"source": "comfyui", "resize_from": "512x512"}, "belong to A1111's noise"),
        ({"source": "a1111", "batch_size": 2}, "belong to ComfyUI's noise"),
        ({"source": "comfyui", "batch_size": 2, "batch_index": 2}, "must be below batch_size"),
        ({"source": "indexd", "brownian": "cpu"}, "brownian needs the noise of ComfyUI or A1111"),
    ],
)
def test_noise_refuses_options_of_another_program(noise: dict[str, Any], words: str) -> None:
    for form in (RecipeNoise, JobNoise):
        with pytest.raises(ValidationError, match=words):
            form.model_validate(noise)


def test_a_bare_text_is_the_source_of_the_noise() -> None:
    assert JobNoise.model_validate("a1111_cpu") == JobNoise(source="a1111_cpu")
