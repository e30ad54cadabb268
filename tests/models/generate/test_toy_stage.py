"""A render stage is one class: this file holds all of one, from the job file to the pixels and the infotext."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import Field

from indexd.config import read_config
from indexd.jobs.service import JobService
from indexd.render_stages import stage as stages
from indexd.render_stages.stage import ImageStage, StagePlanner, StageSize, render_stage
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.jobs.job_part import JobPart
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import StageRecipe, StageRecipes
from tests.models.generate.conftest import Studio
from tests.support.model_files import SDXL_CHECKPOINT, write_model


class Border(JobPart):
    """A frame around the finished image."""

    width: int = Field(ge=1, le=1000)


class BorderRecipe(StageRecipe):
    """The frame as the recipe records it."""

    stage: Literal["border"] = "border"
    width: int


class BorderStage(ImageStage[Border, BorderRecipe]):
    """Adds a white frame before the last resize."""

    name, rank = "border", 45
    options, recipe = Border, BorderRecipe

    def plan(self, options: Border, planner: StagePlanner) -> tuple[BorderRecipe, StageSize]:
        sides = planner.size.sides[0] + 2 * options.width, planner.size.sides[1] + 2 * options.width
        planner.check_size(sides, "width", grown=True)
        return BorderRecipe(width=options.width), StageSize(sides)

    def run(
        self, recipe: BorderRecipe, context: Any, image: Image.Image, number: int
    ) -> tuple[Image.Image, BorderRecipe]:
        return ImageOps.expand(image, recipe.width, "white"), recipe

    def infotext(self, recipe: BorderRecipe, number: int) -> Mapping[str, str | None]:
        return {"Border width": str(recipe.width)}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    render_stage(BorderStage)
    yield
    del stages._STAGES["border"], StageRecipes.by_name["border"]


def planned(tmp_path: Path, text: str) -> Recipe:
    """The recipe of the one item of a job file."""
    for folder in ("inbox", "output", "models"):
        (tmp_path / folder).mkdir()
    checkpoint = write_model(tmp_path / "models" / "tiny.safetensors", SDXL_CHECKPOINT).as_posix()
    (tmp_path / "indexd.toml").write_text(
        f'[models.generator]\npath = "{checkpoint}"\n[generate]\nmax_megapixels = 1.0\n', "utf-8"
    )
    config = read_config(tmp_path)
    with SqliteStore.open(config.paths.index) as store:
        job = JobService(store, config).submit(text.encode(), "x.yaml")
        return Recipe.model_validate(store.jobs.items(job.id)[0].settings["recipe"])


JOB = "kind: txt2img\nprompt: a red cat\nseed: 7\nsize: 64x64\nsteps: 2\nresize: {scale: 2}\n"


def test_a_job_file_says_it_the_worker_runs_it_and_the_infotext_states_it(studio: Studio, tmp_path: Path) -> None:
    recipe = planned(tmp_path, JOB + "border: {width: 8}\n")
    assert [part.stage for part in recipe.stages] == ["border", "resize"]
    made = studio.render(recipe)
    with Image.open(io.BytesIO(made.encoded)) as image:
        text: str = image.text["parameters"]  # type: ignore[attr-defined]
        pixels = np.asarray(image).copy()
    assert pixels.shape == (160, 160, 3)
    assert (pixels[:8] == 255).all()
    assert "Border width: 8" in text
    assert list(made.seconds)[-3:] == ["border", "resize", "save"]
    assert studio.render(made.recipe).encoded == made.encoded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("border: {width: 0}\n", r"line 7, column 17: border\.width: must be at least 1 \(got 0\)"),
        ("border: {width: 900}\n", r"border\.width: 64x64 becomes 1864x1864, 3\.5 megapixels; at most 1 are allowed"),
    ],
)
def test_its_options_are_refused_with_their_place(tmp_path: Path, text: str, reason: str) -> None:
    from indexd.errors import JobRefused

    with pytest.raises(JobRefused, match=reason):
        planned(tmp_path, JOB + text)


def test_two_classes_of_one_name_are_refused() -> None:
    other = type("Other", (BorderStage,), {})
    with pytest.raises(ValueError, match="the render stage 'border' is both"):
        render_stage(other)
