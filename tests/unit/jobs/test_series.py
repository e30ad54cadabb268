"""A series: one job file, an image for every combination of values, and their sheet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexd.errors import JobRefused, RenderFailed
from indexd.worker.calls import AnyCall, Render
from indexd.worker.fake_workers import FakeWorkers
from tests.unit.jobs.conftest import JobSetup, OpenSetup

SMALL = "kind: txt2img\nprompt: a red fox\nsize: 64x64\n"


def _submit(setup: JobSetup, more: str, base: str = SMALL) -> list[dict[str, Any]]:
    """The settings of the items."""
    job = setup.jobs.submit((base + more).encode(), "x.yaml")
    return [item.settings for item in setup.store.jobs.items(job.id)]


def _recipes(setup: JobSetup, more: str) -> list[dict[str, Any]]:
    *images, sheet = _submit(setup, more)
    assert sheet.keys() == {"sheet"}
    return [settings["recipe"] for settings in images]


def _refusal(setup: JobSetup, more: str, base: str = SMALL) -> str:
    with pytest.raises(JobRefused) as refused:
        setup.jobs.submit((base + more).encode(), "x.yaml")
    assert setup.store.jobs.list() == []
    return str(refused.value)


@pytest.mark.parametrize(
    "more", ["grid: {cfg: [4, 7], sampler: [euler, ddim, lms]}", "cfg: [4, 7]\nsampler: [euler, ddim, lms]"]
)
def test_every_combination_is_an_image_with_a_recipe_like_any_other(setup: JobSetup, more: str) -> None:
    *images, sheet = _submit(setup, more)
    recipes = [settings["recipe"] for settings in images]
    assert [(recipe["cfg"], recipe["sampler"]) for recipe in recipes] == [
        (4.0, "euler"), (7.0, "euler"), (4.0, "ddim"), (7.0, "ddim"), (4.0, "lms"), (7.0, "lms"),
    ]  # fmt: skip
    assert {recipe["seed"] for recipe in recipes} == {1000}
    [single] = _submit(setup, "cfg: 7\nsampler: ddim\nseed: 1000")
    assert single["recipe"] == recipes[3]
    assert sheet["sheet"] == {
        "columns": ["cfg: 4", "cfg: 7"],
        "rows": ["sampler: euler", "sampler: ddim", "sampler: lms"],
        "blocks": [{"title": "", "items": [0, 1, 2, 3, 4, 5]}],
    }


@pytest.mark.parametrize("text", ["[red:blue:0.5]", "[ugly, blurry]", "[fox|owl]", "\n  [a, b]"])
def test_a_prompt_in_brackets_is_no_list_of_prompts(setup: JobSetup, text: str) -> None:
    reason = _refusal(setup, f"negative_prompt: {text}")
    assert "negative_prompt: YAML reads `[` at the start of a text as a list; put the text in quotes" in reason


@pytest.mark.parametrize(
    "text", ['["red:blue:0.5", "a fox"]', "['red:blue:0.5', 'a fox']", "\n- red:blue:0.5\n- a fox"]
)
def test_prompts_in_quotes_or_a_line_each_are_a_series(setup: JobSetup, text: str) -> None:
    assert [recipe["negative_prompt"] for recipe in _recipes(setup, f"negative_prompt: {text}")] == [
        "red:blue:0.5",
        "a fox",
    ]


def test_a_third_axis_and_several_seeds_are_tables_below_each_other(setup: JobSetup) -> None:
    *_, sheet = _submit(setup, "seeds: [5, 6]\ngrid:\n  cfg: [4, 7]\n  steps: [1, 2, 3]\n  size: [64x64, 64x128]")
    assert [(block["title"], block["items"][:3]) for block in sheet["sheet"]["blocks"]] == [
        ("size: 64x64 · seed 5", [0, 2, 4]),
        ("size: 64x64 · seed 6", [1, 3, 5]),
        ("size: 64x128 · seed 5", [12, 14, 16]),
        ("size: 64x128 · seed 6", [13, 15, 17]),
    ]


def test_parts_of_a_prompt_are_exchanged(setup: JobSetup) -> None:
    recipes = _recipes(setup, "grid:\n  prompt: {search: fox, replace: [fox, große Katze, 猫, '']}")
    assert [recipe["prompt"] for recipe in recipes] == ["a red fox", "a red große Katze", "a red 猫", "a red "]
    *_, sheet = _submit(setup, "grid:\n  prompt: {search: fox, replace: [fox, '']}")
    assert sheet["sheet"]["columns"] == ["fox", "(no fox)"]


def test_a_part_of_a_part_is_an_axis(setup: JobSetup) -> None:
    recipes = _recipes(setup, "loras: [film-grain]\ngrid:\n  loras: [[], [{name: film-grain, weight: 0.5}]]")
    assert [[lora["weight"] for lora in recipe["loras"]] for recipe in recipes] == [[], [0.5]]
    recipes = _recipes(setup, "hires: {scale: 2}\ngrid:\n  hires.denoise: [0.3, 0.6]")
    assert [recipe["stages"][0]["denoise"] for recipe in recipes] == [0.3, 0.6]
    recipes = _recipes(setup, "loras: [{name: film-grain}]\ngrid: {loras.0.weight: [0.3, 0.6]}")
    assert [recipe["loras"][0]["weight"] for recipe in recipes] == [0.3, 0.6]


def test_seeds_stay_the_same_unless_they_are_an_axis(setup: JobSetup) -> None:
    assert {recipe["seed"] for recipe in _recipes(setup, "cfg: [4, 7]\nseed: -1")} == {1000}
    assert [recipe["seed"] for recipe in _recipes(setup, "grid: {seed: [3, 9]}")] == [3, 9]
    variations = [recipe["variation"]["seed"] for recipe in _recipes(setup, "cfg: [4, 7]\nvariation: {strength: 0.2}")]
    assert len(set(variations)) == 1


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        (
            "grid: {cfg: [1, 2, 3, 4], steps: [1, 2, 3, 4, 5], seed: [1, 2, 3]}",
            "line 4, column 13: the series cfg 4 x steps 5 x seed 3 makes 60 images; a job makes at most 50 ([generate] max_images_per_job)",
        ),
        (
            "count: 30\ncfg: [4, 7]",
            "line 5, column 6: the series cfg 2 with 30 images each makes 60 images; a job makes at most 50 ([generate] max_images_per_job)",
        ),
        ("grid: {cfg: [4, 700]}", "line 4, column 17: cfg: must be at most 100 (got 700)"),
        ("grid: {cfg_scale: [4, 7]}", "line 4, column 20: there is no key 'cfg_scale'; here it is called `cfg`"),
        ("grid: {sampler: [euler, eulr]}", "line 4, column 25: sampler: there is no sampler 'eulr'"),
        ("grid: {cfg: []}", "line 4, column 13: grid.cfg: must be a list of values, or {search: a text, replace: [texts]}"),
        ("grid: {cfg: 7}", "line 4, column 13: grid.cfg: must be a list of values"),
        ("grid: 7", "line 4, column 7: grid: must be `key: [values]` pairs"),
        ("grid: {output: [a, b]}", "line 4, column 16: grid.output: `output` is the same for all images of a job"),
        ("grid: {template: [a, b]}", "line 4, column 18: grid.template: the template file is the same for all images of a job"),
        ("grid: {template.name: [a, b]}", "grid.template.name: the template file is the same for all images of a job"),
        ("grid: {prompt: {search: cat, replace: [dog]}}", "line 4, column 25: grid.prompt.search: `prompt` does not contain 'cat'"),
        ("grid: {prompt: {search: fox, replace: [dog, 5]}}", "line 4, column 45: grid.prompt.replace[1]: must be text (got 5)"),
        ("grid: {prompt: {find: fox}}", "line 4, column 16: grid.prompt: must be {search: a text, replace: [texts]}"),
        ("grid: {cfg: [1, 2]}\ncfg: [3, 4]", "line 5, column 6: cfg: it is an axis already; keep one of the two"),
        ("grid: {cfg: [1], steps: [1], seed: [1], clip_skip: [1]}", "clip_skip: a series has at most 3 axes"),
        ("grid: {count: [1, 2]}", "every combination of a series must make the same number of images"),
        ("grid: {loras.3.weight: [1, 2]}", "line 4, column 25: grid.loras.3.weight: "),
        ("upscale: some\ngrid: {upscale.scale: [1, 2]}", "grid.upscale.scale: `upscale` has no parts in this job"),
    ],
)  # fmt: skip
def test_what_makes_no_series_is_refused_at_its_place(setup: JobSetup, more: str, refusal: str) -> None:
    assert refusal in _refusal(setup, more)


def test_the_sheet_is_made_when_every_image_has_ended(open_setup: OpenSetup) -> None:
    workers = FakeWorkers()
    workers.hold()
    setup = open_setup(workers)
    _submit(setup, "cfg: [4, 7]\nsteps: [1, 2, 3]")
    for _ in range(6):
        setup.work()
        assert all(isinstance(call, Render) for call in workers.calls)
        workers.release(1)
    setup.work()
    workers.release()
    setup.work()
    assert setup.images() == [*(f"x-000{number}.png" for number in range(1, 7)), "x.sheet.png"]
    job = setup.store.jobs.get(1)
    assert job is not None and job.state == "done"
    with Image.open(setup.output / "x.sheet.png") as sheet:
        assert sheet.width > 2 * 64 and sheet.height > 3 * 64


def test_images_that_failed_leave_their_cells_empty(setup: JobSetup) -> None:
    def is_third(call: AnyCall) -> bool:
        return isinstance(call, Render) and call.recipe.steps == 2 and call.recipe.cfg == 4

    setup.workers.fail_next(RenderFailed("all black"), is_third)
    _submit(setup, "cfg: [4, 7]\nsteps: [1, 2]")
    setup.work()
    assert [str(item.state) for item in setup.store.jobs.items(1)] == ["done", "done", "failed", "done", "done"]
    assert "x.sheet.png" in setup.images()


def test_a_series_survives_an_end_before_its_sheet(open_setup: OpenSetup) -> None:
    def stop_at_the_sheet(point: str) -> None:
        if point == "output staged" and len(list(Path(setup.output).glob("x-*.png"))) == 2:
            raise KeyboardInterrupt

    setup = open_setup(fault=stop_at_the_sheet)
    _submit(setup, "cfg: [4, 7]")
    with pytest.raises(KeyboardInterrupt):
        setup.work()
    again = open_setup()
    again.work()
    assert again.images() == ["x-0001.png", "x-0002.png", "x.sheet.png"]
    assert [str(item.state) for item in again.store.jobs.items(1)] == ["done"] * 3


def test_sheets_of_one_name_stand_beside_each_other(setup: JobSetup) -> None:
    for _ in range(2):
        _submit(setup, "cfg: [4, 7]")
        setup.work()
    assert [name for name in setup.images() if "sheet" in name] == ["x-2.sheet.png", "x.sheet.png"]


def test_a_series_over_images_takes_its_own_seeds(setup: JobSetup) -> None:
    setup.jobs.submit((SMALL + "seed: 3").encode(), "made.yaml")
    setup.work()
    made = os.fspath(setup.output / "made-0001.png")
    *images, _ = _submit(setup, "grid: {steps: [5, 6]}", f"kind: regenerate\ninput: {made}\n")
    assert [(one["recipe"]["seed"], one["recipe"]["steps"]) for one in images] == [(3, 5), (3, 6)]
