"""Job files from the recipe of an image."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from indexd.errors import IndexdError
from indexd.jobs.export.from_recipe import job_from_recipe, job_keys
from indexd.jobs.export.job_file import json_in_yaml
from indexd.jobs.export.replay import compare_images, replay_job_text
from indexd_schemas.image_format import PNG
from indexd_schemas.jobs.job import JOB_KINDS
from indexd_schemas.recipe import InputRef, LoraRef, Recipe, RecipeVariation
from indexd_schemas.recipe_part import ModelRef

ODD = 'a "quoted": {brace} # no comment\n- item\t*anchor &x %tag\x7f\x85\u2028\ufeff emoji 😀 \\ end'


def recipe(**changes: object) -> Recipe:
    return Recipe(
        **{
            "kind": "txt2img", "prompt": ODD, "negative_prompt": "", "seed": 2**64 - 1, "width": 64, "height": 128, "steps": 3,
            "cfg": 5.5, "sampler": "dpmpp_2m", "schedule": "karras", "clip_skip": 2, "model": ModelRef(name="tiny", hash="ab"),
            "loras": (LoraRef(name="one", weight=0.8), LoraRef(name="two", weight=-1.0, text_weight=0.5, hash="cd")),
            **changes,
        }
    )  # fmt: skip


def test_the_job_keys_equal_the_recipe() -> None:
    made = recipe(cfg_rescale=0.5, vae=ModelRef(name="fine"), variation=RecipeVariation(seed=3, strength=0.25))
    data = YAML(typ="safe").load(json_in_yaml(job_keys(made)))
    assert data == job_keys(made)
    job = JOB_KINDS["txt2img"].model_validate(data)
    assert (job.prompt, job.seed, job.count) == (ODD, 2**64 - 1, None)
    assert (job.width, job.height, job.steps, job.cfg) == (64, 128, 3, 5.5)
    assert (job.sampler, job.schedule, job.clip_skip, job.model) == ("dpmpp_2m", "karras", 2, "tiny")
    assert [(use.name, use.weight, use.text_weight) for use in job.loras] == [("one", 0.8, None), ("two", -1.0, 0.5)]
    assert (job.cfg_rescale, job.vae, job.lora_triggers) == (0.5, "fine", False)
    assert job.variation is not None
    assert (job.variation.seed, job.variation.strength) == (3, 0.25)


def test_unset_fields_are_left_out() -> None:
    data = job_keys(recipe(schedule=None, clip_skip=None, loras=()))
    assert not {"schedule", "clip_skip", "vae", "variation"} & set(data)


@pytest.mark.parametrize("loras", [(), (LoraRef(name="one", weight=0.8),)])
def test_the_written_job_file_is_a_valid_job_with_and_without_loras(loras: tuple[LoraRef, ...]) -> None:
    data = YAML(typ="safe").load(job_from_recipe(recipe(loras=loras), {}).render("A heading"))
    assert [use.name for use in JOB_KINDS["txt2img"].model_validate(data).loras] == [lora.name for lora in loras]


def test_img2img_starts_from_the_same_image() -> None:
    made = recipe(kind="img2img", input=InputRef(hash="ab", name="in.png", denoise=0.4))
    data = job_keys(made, {"ab": "/pictures/in.png"})
    assert (data["input"], data["denoise"]) == ("/pictures/in.png", 0.4)
    JOB_KINDS["img2img"].model_validate(data)


@pytest.mark.skipif(sys.platform == "win32", reason="the expected text has paths of POSIX")
def test_a_replay_job_names_the_image_file() -> None:
    data = YAML(typ="safe").load(replay_job_text(Path("/a/x\u2028y.png"), Path("/out"), "again", PNG))
    job = JOB_KINDS["regenerate"].model_validate(data)
    assert job.model_dump(exclude_unset=True)["input"] == {"files": ["/a/x\u2028y.png"]}
    assert (job.output.folder, job.output.name) == ("/out", "again")


@pytest.mark.parametrize(("second", "expected"), [((64, 64), (True, 0, 0)), ((64, 65), (False, None, None))])
def test_images_are_compared_by_pixels_and_by_bytes(
    tmp_path: Path, second: tuple[int, int], expected: tuple[bool, int | None, int | None]
) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    Image.new("RGB", second, "red").save(tmp_path / "b.png", compress_level=0)
    found = compare_images(tmp_path / "a.png", tmp_path / "b.png")
    assert (found.equal, found.largest_difference, found.differing_pixels) == expected
    assert not found.same_bytes


def test_a_recipe_with_missing_images_becomes_a_partial_job() -> None:
    control = {"type": "canny", "model": ModelRef(name="c"), "image": "cd", "image_name": "house.png"}
    made = recipe(kind="img2img", input=InputRef(hash="ab", name="in.png", denoise=0.4), control=(control,))
    whole = job_from_recipe(made, {"ab": "/in.png", "cd": "/house.png"})
    assert (whole.keys["kind"], whole.keys["control"][0]["image"], whole.remarks) == ("img2img", "/house.png", [])
    lost = job_from_recipe(made, {})
    assert (lost.keys["kind"], "control" in lost.keys, "denoise" in lost.keys) == ("txt2img", False, False)
    assert lost.remarks == [
        "the canny image house.png (cd…) is not in the index",
        "the image in.png (ab…) is not in the index",
    ]
    upscaled = recipe(kind="upscale", input=InputRef(hash="ab", name="in.png"), model=None)
    with pytest.raises(IndexdError, match=r"it was made with the image in\.png \(ab…\), which is not in the index"):
        job_from_recipe(upscaled, {})
