"""Stages at admission: what a job asks for becomes its recipe, and what cannot be is refused where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.model_files import PICKLE, UPSCALER, write_model
from tests.support.recipes import file_names
from tests.unit.jobs.conftest import JobSetup

START = "kind: txt2img\nprompt: a cat\nsize: 512x512\n"


@pytest.fixture
def home(home: Path) -> Path:
    """Two upscalers and a detector besides."""
    models = home.parent / "models"
    for name in ("4x-sharp", "soft"):
        write_model(models / "upscalers" / f"{name}.safetensors", UPSCALER)
    (models / "detectors").mkdir()
    (models / "detectors" / "face_n.pt").write_bytes(PICKLE)
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'upscaler_folders = ["{(models / "upscalers").as_posix()}"]\n')
        settings.write(f'detector_folders = ["{(models / "detectors").as_posix()}"]\n')
    return home


def recipe(setup: JobSetup, text: str) -> dict[str, Any]:
    job = setup.jobs.submit(text.encode(), "x.yaml")
    found: dict[str, Any] = setup.store.jobs.items(job.id)[0].settings["recipe"]
    return found


def refusal(setup: JobSetup, text: str) -> str:
    from indexd.errors import JobRefused

    with pytest.raises(JobRefused) as refused:
        setup.jobs.submit(text.encode(), "x.yaml")
    return str(refused.value)


def test_every_choice_stands_in_the_recipe(setup: JobSetup) -> None:
    made = recipe(
        setup,
        START.replace("512x512", "256x256")
        + "hires: {scale: 1.5, upscaler: Latent (bicubic antialiased), sampler: Euler a}\n"
        + "detail: [face_n, {detector: FACE_N, kinds: [face], denoise: 1}]\n"
        + "upscale: 4x-sharp\nrefine: {tile: 512, overlap: 64}\nresize: {max_side: 2000}\n",
    )
    hires, first, second, upscale, refine, resize = made["stages"]
    assert (hires["stage"], hires["width"], hires["upscaler"]) == ("hires", 384, "latent_bicubic_antialiased")
    assert (hires["sampler"], hires["denoise"]) == ("euler_ancestral", 0.7)
    assert [one["detector"]["name"] for one in (first, second)] == ["face_n", "face_n"]
    assert upscale == {
        "stage": "upscale",
        "model": {"name": "4x-sharp", "hash": None},
        "scale": None,
        "tile": 512,
        "overlap": 64,
        "tile_used": None,
    }
    assert (refine["stage"], refine["denoise"]) == ("refine", 0.3)
    assert (resize["stage"], resize["max_side"]) == ("resize", 2000)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("upscale: 4x-shrap\n", "upscale.model: there is no upscaler '4x-shrap' in "),
        ("upscale: 4x-shrap\n", "did you mean '4x-sharp'"),
        ("hires: {upscaler: latent_bicubik}\n", "did you mean 'latent_bicubic'"),
        ("detail: [face_m]\n", "line 4, column 10: detail[0].detector: there is no detector 'face_m'"),
        ("hires: {scale: 8}\n", "hires.scale: 4096x4096 are 16.8 megapixels; at most 4.5 are allowed"),
        ("hires: {scale: 9}\n", "hires.scale: must be at most 8 (got 9)"),
        (
            "upscale: {model: soft, scale: 1}\nresize: {scale: 16}\n",
            "resize.scale: 512x512 becomes 8192x8192, 67.1 mega",
        ),
        ("hires: {scale: 2}\nupscale: 4x-sharp\n", "upscale.model: 1024x1024 becomes 4096x4096, 16.8 megapixels"),
        ("resize: {max_side: 9, scale: 2}\n", "resize: needs exactly one of size, scale and max_side"),
        (
            "resize: {size: 60000x10}\nrefine: {tile: 64, overlap: 48}\n",
            "overlap must be at most half a tile: 32 (got 48)",
        ),
        ("refine: {tile: 512, overlap: 64, prompts: [a, b]}\n", "2 prompts, but 512x512 is cut into 1 tiles"),
        (
            "refine: {prompt: a <lora:film-grain:1>}\n",
            "refine.prompt: contains '<lora:film-grain:1>'; a LoRA works on",
        ),
        ("detail: [{detector: face_n, sampler: eulr}]\n", "detail[0].sampler: "),
        ("hires: {denoising_strength: 0.5}\n", "here it is called `denoise`"),
        (
            "hires: {size: 1000x1001}\n",
            "hires.size: both sides must be multiples of 8 from 64 to 16384 (got '1000x1001')",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(setup: JobSetup, stages: str, words: str) -> None:
    assert words in refusal(setup, START + stages)


def test_a_finished_picture_keeps_its_size_and_needs_no_checkpoint_to_be_enlarged(setup: JobSetup) -> None:
    Image.new("RGB", (101, 77)).save(setup.inbox.parent / "in.png")
    text = f"kind: upscale\ninput: {(setup.inbox.parent / 'in.png').as_posix()}\nupscale: 4x-sharp\n"
    made = recipe(setup, text)
    assert (made["width"], made["height"], made["model"]) == (101, 77, None)
    assert recipe(setup, text + "refine: {}\n")["model"]["name"] == "base"
    assert "size: upscale starts with the size of its input; use `resize`" in refusal(setup, text + "size: 64x64\n")
    assert "hires: it works on latents" in refusal(setup, text + "hires: {}\n")
    assert "`upscale` is missing" in refusal(setup, text.replace("upscale: 4x-sharp\n", ""))


def test_an_order_names_the_files_of_its_stages(setup: JobSetup) -> None:
    from indexd.jobs.render_kind import build_render_call

    job = setup.jobs.submit((START + "upscale: 4x-sharp\ndetail: [face_n]\n").encode(), "x.yaml")
    order = build_render_call(setup.store.jobs.items(job.id)[0], setup.jobs.catalogue)
    assert file_names(order.call, "upscaler") == {"4x-sharp": "4x-sharp.safetensors"}
    assert file_names(order.call, "detector") == {"face_n": "face_n.pt"}
    assert {path.name for path in order.models} >= {"4x-sharp.safetensors", "face_n.pt", "base.safetensors"}


def test_finished_pictures_come_by_every_choice_of_inputs(setup: JobSetup) -> None:
    for name, size in (("a", (64, 48)), ("b", (80, 72))):
        Image.new("RGB", size, "navy").save(setup.inbox / f"{name}.png")
    for kind, stage in (("upscale", "upscale: 4x-sharp"), ("refine", "refine: {denoise: 0.3}")):
        job = setup.jobs.submit(f"kind: {kind}\ninput: {{folder: .}}\ncount: 2\n{stage}\n".encode(), "x.yaml")
        recipes = [item.settings["recipe"] for item in setup.store.jobs.items(job.id)]
        assert [(one["input"]["name"], one["width"]) for one in recipes] == [("a.png", 64)] * 2 + [("b.png", 80)] * 2


def test_a_part_that_is_worked_on_alone_is_put_back_before_the_stages(setup: JobSetup) -> None:
    Image.new("RGB", (640, 480), "navy").save(setup.inbox / "in.png")
    text = (
        "kind: inpaint\nprompt: x\ninput: in.png\nmask: {box: [0, 0, 0.5, 0.5]}\nonly_masked: true\nsize: 1024x1024\n"
    )
    assert recipe(setup, text + "resize: {scale: 3}\n")["stages"][0]["scale"] == 3.0
    assert "1920x1440" not in refusal(setup, text + "resize: {scale: 6}\n")
    assert "640x480 becomes 3840x2880" in refusal(setup, text + "resize: {scale: 6}\n")
    assert "hires: inpaint keeps what lies around its mask as it is" in refusal(setup, text + "hires: {scale: 2}\n")


def test_a_picture_made_with_stages_is_made_again_with_them(setup: JobSetup) -> None:
    stages = "hires: {scale: 1.5, denoise: 0.6}\ndetail: [face_n]\nupscale: {model: 4x-sharp, scale: 2}\n"
    text = (
        START.replace("512x512", "128x128")
        + "seed: 5\n"
        + stages
        + "refine: {denoise: 0.25}\nresize: {max_side: 900}\n"
    )
    first = recipe(setup, text)
    setup.work()
    again = f"kind: regenerate\ninput: '{setup.output / 'x-0001.png'}'\n"
    assert recipe(setup, again) == first
    assert recipe(setup, again + "size: 64x64\n")["stages"][0] == {**first["stages"][0], "width": 96, "height": 96}


def test_how_a_picture_fits_its_prompt_is_not_asked_without_one(setup: JobSetup) -> None:
    Image.new("RGB", (64, 48), "navy").save(setup.inbox / "in.png")
    text = "kind: upscale\ninput: in.png\nupscale: 4x-sharp\n"
    assert recipe(setup, text + "score: [sharpness]\n")["score"] == ["sharpness"]
    assert "score: clip" in refusal(setup, text + "score: [clip]\n")
