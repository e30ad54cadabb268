"""`output: {format, quality}`: what a job says, what the settings say, and how an image is made again in its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexd.errors import JobRefused
from indexd.images.reader_client import read_image_file
from indexd.jobs.export.from_recipe import job_from_recipe
from indexd.jobs.export.job_file import json_in_yaml
from indexd.jobs.export.replay import compare_images, parse_recipe, replay_job_text
from indexd_schemas.recipe import Recipe
from tests.unit.jobs.conftest import JobSetup, OpenSetup

SMALL = "kind: txt2img\nprompt: a fox\nsize: 64x64\nseed: 5\n"
SUFFIXES = {"png": "png", "jpeg": "jpg", "webp": "webp", "avif": "avif"}


def _outputs(setup: JobSetup, more: str) -> list[Any]:
    job = setup.jobs.submit((SMALL + more).encode(), "x.yaml")
    return [item.settings["recipe"]["output"] for item in setup.store.jobs.items(job.id)]


def _recipe_of(path: Path) -> Recipe:
    recipe = parse_recipe(read_image_file(str(path).encode()).metadata, path.name)
    assert recipe is not None
    return recipe


@pytest.mark.parametrize(
    ("output", "encoding"),
    [
        ("", None),
        ("output: {format: png}", None),
        ("output: {format: JPG}", {"format": "jpeg", "quality": 92}),
        ("output: {format: webp}", {"format": "webp", "quality": 90}),
        ("output: {format: webp, quality: lossless}", {"format": "webp", "quality": None}),
        ("output: {format: avif, quality: 50}", {"format": "avif", "quality": 50}),
    ],
)
def test_a_job_chooses_format_and_quality(setup: JobSetup, output: str, encoding: dict[str, Any] | None) -> None:
    assert _outputs(setup, output) == [encoding]
    setup.work()
    name = "png" if encoding is None else encoding["format"]
    assert setup.images() == [f"x-0001.{SUFFIXES[name]}"]
    with Image.open(setup.output / setup.images()[0]) as opened:
        assert opened.format == name.upper()


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("{format: gif}", "output.format: must be 'png', 'jpeg', 'webp' or 'avif'"),
        ("{quality: 80}", "output.quality: png is lossless; leave `quality` out, or set `format`"),
        ("{format: jpeg, quality: lossless}", "output.quality: jpeg is not lossless here; use png or webp"),
        ("{format: jpeg, quality: 0}", "output.quality: must be a number from 1 to 100, or lossless"),
        ("{format: jpeg, quality: 101}", "output.quality: must be a number from 1 to 100, or lossless"),
    ],
)
def test_what_no_format_can_do_is_refused(setup: JobSetup, output: str, error: str) -> None:
    with pytest.raises(JobRefused) as refused:
        setup.jobs.submit((SMALL + f"output: {output}").encode(), "x.yaml")
    assert error in str(refused.value)


@pytest.fixture
def webp_by_default(home: Path) -> None:
    config = home / "indexd.toml"
    config.write_text(config.read_text() + 'output_format = "webp"\noutput_quality = 70\n')


@pytest.mark.usefixtures("webp_by_default")
def test_the_settings_choose_where_the_job_does_not(open_setup: OpenSetup) -> None:
    setup = open_setup()
    assert _outputs(setup, "") == [{"format": "webp", "quality": 70}]
    assert _outputs(setup, "output: {quality: 40}") == [{"format": "webp", "quality": 40}]
    assert _outputs(setup, "output: {format: jpeg}") == [{"format": "jpeg", "quality": 92}]
    assert _outputs(setup, "output: {format: png}") == [None]


@pytest.mark.parametrize(
    "encoding", ["{format: png}", "{format: jpeg}", "{format: webp, quality: lossless}", "{format: avif}"]
)
@pytest.mark.usefixtures("webp_by_default")
def test_an_image_is_made_again_in_its_own_format(open_setup: OpenSetup, encoding: str) -> None:
    setup = open_setup()
    setup.jobs.submit((SMALL + f"output: {encoding}").encode(), "x.yaml")
    setup.work()
    [made] = (setup.output / name for name in setup.images())
    setup.jobs.submit(replay_job_text(made, setup.output, "again", _recipe_of(made).encoding).encode(), "again.yaml")
    exported = job_from_recipe(_recipe_of(made), {})
    setup.jobs.submit(json_in_yaml(exported.keys).encode(), "exported.yaml")
    setup.work()
    for name in ("again", "exported-0001"):
        again = setup.output / f"{name}{made.suffix}"
        report = compare_images(made, again)
        assert report.same_bytes and report.equal, name


def test_a_job_that_makes_images_again_may_change_their_format(setup: JobSetup) -> None:
    setup.jobs.submit((SMALL + "output: {format: jpeg, quality: 60}").encode(), "x.yaml")
    setup.work()
    again = f"kind: regenerate\ninput: {setup.output / 'x-0001.jpg'}\noutput: "
    for number, (output, expected) in enumerate(
        [
            ("{name: a}", {"format": "jpeg", "quality": 60}),
            ("{quality: 70}", {"format": "jpeg", "quality": 70}),
            ("{format: webp}", {"format": "webp", "quality": 90}),
            ("{format: png}", None),
        ],
        start=2,
    ):
        setup.jobs.submit((again + output).encode(), "y.yaml")
        assert setup.store.jobs.items(number)[0].settings["recipe"]["output"] == expected
    with pytest.raises(JobRefused, match=r"line 3, column 47: output\.quality: jpeg is not lossless here"):
        setup.jobs.submit((again + "{name: a, format: jpeg,      quality: lossless}").encode(), "y.yaml")
