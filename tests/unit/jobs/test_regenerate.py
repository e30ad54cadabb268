"""Pictures made again by what they say of themselves: ours exactly, those of other programs as far as they tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from indexd.errors import JobRefused
from tests.unit.jobs.conftest import JobSetup
from tests.unit.jobs.test_selection import paint, record

FIRST = """\
kind: txt2img
prompt: a (red:1.2) cat
negative_prompt: blurry
seed: 7
size: 64x128
steps: 9
cfg: 4.5
cfg_rescale: 0.5
sampler: Euler a
clip_skip: 2
model: dream
vae: sdxl_vae
loras: [{name: film-grain, weight: 0.5}]
variation: {seed: 3, strength: 0.25}
noise: {source: comfyui, batch_size: 4, batch_index: 2, brownian: gpu}
timesteps: rounded
"""


def recipe(setup: JobSetup, job_id: int, index: int = 0) -> dict[str, object]:
    return dict(setup.store.jobs.items(job_id)[index].settings["recipe"])


def made(setup: JobSetup, text: str = FIRST) -> Path:
    setup.jobs.submit(text.encode(), "first.yaml")
    setup.work()
    return setup.output / "first-0001.png"


def again(setup: JobSetup, picture: Path | str, changes: str = "") -> int:
    return setup.jobs.submit(f"kind: regenerate\ninput: '{picture}'\n{changes}".encode(), "again.yaml").id


def test_our_own_picture_is_asked_for_exactly(setup: JobSetup) -> None:
    picture = made(setup)
    assert recipe(setup, again(setup, picture)) == recipe(setup, 1)


def test_changes_are_laid_over_it(setup: JobSetup) -> None:
    job = again(setup, made(setup), "steps: 50\nseed: -1\nmodel: flat\nsize: 128x64\n")
    changed = recipe(setup, job)
    assert (changed["steps"], changed["width"], changed["height"]) == (50, 128, 64)
    assert changed["seed"] != 7
    assert changed["model"] == {"name": "anime/flat", "hash": None}
    assert {**changed, "variation": None} | {
        key: recipe(setup, 1)[key] for key in ("steps", "width", "height", "seed", "model", "variation")
    } == recipe(setup, 1)


def test_several_at_once_and_several_of_each(setup: JobSetup) -> None:
    setup.jobs.submit(FIRST.replace("seed: 7", "seeds: [7, 9]").encode(), "first.yaml")
    setup.work()
    job = again(setup, setup.output / "first-0001.png", "count: 2")
    assert [item.seed for item in setup.store.jobs.items(job)] == [7, 7]  # as many variations of one picture
    whole = setup.jobs.submit(f"kind: regenerate\ninput: {{folder: '{setup.output}'}}\nsteps: 3".encode(), "all.yaml")
    assert [item.seed for item in setup.store.jobs.items(whole.id)] == [7, 9]


def test_its_source_is_found_by_content(setup: JobSetup, tmp_path: Path) -> None:
    source = paint(tmp_path / "in" / "source.png", "red")
    picture = made(setup, f"kind: img2img\nprompt: a\nseed: 1\ninput: '{source}'\ndenoise: 0.4\n")
    with pytest.raises(JobRefused, match=r"made with the image source\.png .* which is not in the index"):
        again(setup, picture)
    record(setup, source)
    assert recipe(setup, again(setup, picture, "denoise: 0.6")) == {
        **recipe(setup, 1), "input": {**recipe(setup, 1)["input"], "denoise": 0.6},  # type: ignore[dict-item]
    }  # fmt: skip


def test_an_inpainted_picture_too(setup: JobSetup, tmp_path: Path) -> None:
    source, mask = (paint(tmp_path / "in" / f"{name}.png", name, (65, 67)) for name in ("red", "white"))
    text = f"kind: inpaint\nprompt: a\nseed: 1\ninput: '{source}'\n"
    record(setup, source)
    record(setup, mask)
    whole = made(setup, f"{text}mask: {{file: '{mask}', invert: true}}\nmask_blur: 0\nmasked_content: fill\n")
    assert recipe(setup, again(setup, whole)) == recipe(setup, 1)
    assert (recipe(setup, 1)["width"], recipe(setup, 1)["height"]) == (65, 67)
    setup.jobs.submit(f"{text}mask: {{box: [0, 0.5, 1, 0.5]}}\nonly_masked: true\nsize: 64x64".encode(), "boxed.yaml")
    setup.work()
    assert recipe(setup, again(setup, setup.output / "boxed-0001.png")) == recipe(setup, 3)


def foreign(path: Path, text: str) -> Path:
    chunks = PngInfo()
    chunks.add_text("parameters", text)
    Image.new("RGB", (64, 64), "red").save(path, pnginfo=chunks)
    return path


def test_what_a_foreign_picture_does_not_allow_is_said(setup: JobSetup) -> None:
    foreign(
        setup.inbox / "a1111.png",
        "a cat\nNegative prompt: bad\nSteps: 12, Sampler: Euler a, CFG scale: 6, Seed: 5, Size: 64x64, "
        "Model: dream, VAE: other.safetensors, Version: v1.9.0",
    )
    job = again(setup, "a1111.png", "cfg: 3")
    found = recipe(setup, job)
    assert (found["prompt"], found["steps"], found["seed"], found["cfg"]) == ("a cat", 12, 5, 3.0)
    (note,) = setup.store.jobs.items(job)[0].settings["notes"]
    assert note.startswith("vae: there is no VAE 'other' in ")
    setup.work()
    result = json.loads((setup.inbox / "done" / "again.result.json").read_text("utf-8"))
    assert result["items"][0]["notes"] == [note]


def test_a_model_that_is_not_here_can_be_replaced(setup: JobSetup) -> None:
    foreign(setup.inbox / "x.png", "a cat\nSteps: 12, Sampler: Euler, CFG scale: 6, Seed: 5, Size: 64x64, Model: dreem")
    with pytest.raises(JobRefused) as refused:
        again(setup, "x.png")
    assert "input: x.png cannot be made again as it was: model: there is no checkpoint 'dreem'" in str(refused.value)
    assert "did you mean 'dream'" in str(refused.value)
    assert "write another `model` into the job" in str(refused.value)
    assert recipe(setup, again(setup, "x.png", "model: dream"))["model"] == {"name": "dream", "hash": None}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ("denoise: 0.5", "denoise: first-0001.png was not made from another image (txt2img)"),
        ("steps: 900", "line 3, column 8: steps: must be at most 500 (got 900)"),
        ("model: dreem", "line 3, column 8: model: there is no checkpoint 'dreem'"),
        ("stepz: 9", "did you mean `steps`"),
    ],
)
def test_wrong_changes_are_refused_where_they_stand(setup: JobSetup, changes: str, sentence: str) -> None:
    picture = made(setup)
    with pytest.raises(JobRefused) as refused:
        again(setup, picture, changes)
    assert sentence in str(refused.value)


def test_a_picture_that_says_nothing_is_refused(setup: JobSetup) -> None:
    paint(setup.inbox / "plain.png", "red")
    with pytest.raises(JobRefused, match=r"plain.png cannot be made again: it does not say with which prompt or seed"):
        again(setup, "plain.png")
