"""img2img: the bare pipeline's pixels, and sources as they come from people's disks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3
from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate.diffusion.latents import load_fitted_source
from indexd_schemas.recipe import InputRef
from indexd_schemas.samplers import SAMPLERS
from tests.models.generate.conftest import recipe_data


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A 64x64 gradient."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    values = np.stack(
        [np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 90, np.uint8)], axis=2
    )
    Image.fromarray(values).save(tmp_path / "source.png")
    return tmp_path / "source.png"


def named(path: Path, denoise: float = 0.5) -> dict[str, Any]:
    return {"hash": blake3(path.read_bytes()).hexdigest(), "name": path.name, "denoise": denoise}


def test_pixels_are_those_of_the_bare_pipeline(studio: Any, look: Any, source: Path) -> None:
    """diffusers takes the last int(steps * strength) steps of its schedule: 3 of 5 are our 3 steps over a schedule of 3 / 0.6."""
    made = studio(kind="img2img", source=source, input=named(source, 0.6), steps=3)
    bare = StableDiffusionXLImg2ImgPipeline.from_pretrained(
        studio.models.sdxl, dtype=torch.float32, add_watermarker=False
    )
    bare.set_progress_bar_config(disable=True)
    bare.scheduler = EulerDiscreteScheduler.from_config(bare.scheduler.config, timestep_spacing="linspace")
    with Image.open(source) as picture:
        expected = bare(
            prompt="a red cat",
            negative_prompt="blurry",
            image=picture,
            strength=0.6,
            num_inference_steps=5,
            guidance_scale=5.0,
            generator=torch.Generator("cpu").manual_seed(7),
        ).images[0]
    assert np.abs(look(made).astype(int) - np.asarray(expected).astype(int)).max() <= 1
    assert studio.steps_seen() == [(1, 3), (2, 3), (3, 3)]
    assert studio(source=source, **recipe_data(made)).encoded == made.encoded


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_starts_from_a_picture(studio: Any, source: Path, sampler: str) -> None:
    made = studio(kind="img2img", source=source, input=named(source), sampler=sampler, steps=6)
    assert studio(kind="img2img", source=source, input=named(source), sampler=sampler, steps=6).encoded == made.encoded


def test_a_recipe_can_count_steps_as_a1111_does(studio: Any, source: Path) -> None:
    studio(kind="img2img", source=source, input=named(source, 0.5), steps=6, step_counting="a1111_img2img")
    assert studio.steps_seen() == [(done, 4) for done in range(1, 5)]


def test_denoise_zero_takes_no_step(studio: Any, look: Any, source: Path) -> None:
    one = look(studio(kind="img2img", source=source, input=named(source, 0.0), prompt="a cat"))
    other = look(studio(kind="img2img", source=source, input=named(source, 0.0), prompt="a dog"))
    assert studio.steps_seen() == []
    assert np.array_equal(one, other)


def test_txt2img_and_img2img_share_one_model(fresh_studio: Any, source: Path) -> None:
    first = fresh_studio()
    fresh_studio(kind="img2img", source=source, input=named(source))
    resident = fresh_studio.resident()
    assert resident.pipeline.unet is not None
    assert resident.pipeline.unet.dtype == torch.float32
    assert fresh_studio().encoded == first.encoded


def open_source(path: Path, width: int = 64, height: int = 64) -> Image.Image:
    return load_fitted_source(path, InputRef(**named(path)), width, height)


def test_a_source_of_another_shape_covers_and_is_cropped_to_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.asarray(open_source(tmp_path / "wide.png")).min() == 255


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert open_source(tmp_path / "clear.png").getpixel((5, 5)) == (255, 255, 255)


def test_a_turned_photo_stands_upright(tmp_path: Path) -> None:
    values = np.zeros((64, 64, 3), np.uint8)
    values[:32] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    upright = np.asarray(open_source(tmp_path / "turned.png"))
    assert (upright[0].max(), upright[-1].min()) == (0, 200)


def test_a_changed_source_is_not_the_recipes(studio: Any, source: Path) -> None:
    wanted = named(source)
    Image.new("RGB", (64, 64), "red").save(source)
    with pytest.raises(RenderFailed, match=r"source\.png is not the one the recipe names.*changed since"):
        studio(kind="img2img", source=source, input=wanted)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "not there any more"), (b"", "not a readable image"), (b"GIF89a", "not a readable")]
)
def test_an_unreadable_source_is_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "x.png"
    wanted = InputRef(hash=blake3(content or b"").hexdigest(), name="x.png", denoise=0.5)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RenderFailed, match=words):
        load_fitted_source(path, wanted, 64, 64)
