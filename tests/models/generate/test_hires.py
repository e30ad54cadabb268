"""The second pass: every way to enlarge, its own wishes, and the same bytes again from its recipe."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from indexd.generate.stages.hires import LATENT_MODES, PIXEL_MODES, upscale_latents
from indexd.jobs.export.from_recipe import job_keys
from indexd_schemas.jobs.stages import HIRES_UPSCALERS, HiresRecipe
from tests.models.generate.conftest import recipe_data


def second(**fields: Any) -> dict[str, Any]:
    return {"width": 96, "height": 96, "upscaler": "latent", "denoise": 0.7} | fields


def test_the_names_of_job_files_are_those_that_work() -> None:
    assert sorted(HIRES_UPSCALERS) == sorted([*LATENT_MODES, *PIXEL_MODES])


@pytest.mark.parametrize("upscaler", ["latent", "latent_bicubic_antialiased", "latent_area", "lanczos"])
def test_the_picture_has_the_second_size_and_is_made_again(studio: Any, look: Any, upscaler: str) -> None:
    made = studio(hires=second(upscaler=upscaler))
    assert look(made).shape == (96, 96, 3)
    assert list(made.seconds) == ["load", "loras", "text", "denoise", "hires", "decode", "save"]
    assert [done for stage, done, _ in studio.session.seen if stage == "hires"] == [1, 2, 3, 4]
    assert studio(**recipe_data(made)).encoded == made.encoded


def test_latents_are_enlarged_as_their_names_say(studio: Any) -> None:
    made = studio(width=32, height=32, steps=1)
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    task = type("Task", (), {"model": studio.resident()})()
    assert made.recipe.stages == ()

    def larger(name: str) -> torch.Tensor:
        wanted = HiresRecipe(width=64, height=64, upscaler=name, denoise=0.5)
        return upscale_latents(task, latents, wanted)

    twice = latents.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(larger("latent_nearest"), twice)
    assert torch.equal(larger("latent_nearest_exact"), twice)
    # Bilinear between places a quarter apart (torch's align_corners=False, as A1111 calls it).
    row, first = larger("latent")[0, 0, 0], latents[0, 0, 0]
    assert torch.allclose(row[1], 0.75 * first[0] + 0.25 * first[1])
    assert not torch.equal(larger("latent_bicubic"), larger("latent"))


def test_a_model_enlarges_and_lanczos_brings_the_rest(studio: Any, look: Any) -> None:
    model = studio.models.upscaler
    files = {model.stem: str(model)}
    wanted = second(upscaler=None, model={"name": model.stem}, denoise=0.3)
    made = studio(hires=wanted, upscalers=files)
    assert look(made).shape == (96, 96, 3)
    assert len(recipe_data(made)["stages"][0]["model"]["hash"]) == 10
    assert studio(**recipe_data(made), upscalers=files).encoded == made.encoded
    assert studio(hires=second(upscaler="nearest", denoise=0.3)).encoded != made.encoded


def test_a_model_that_found_no_room_says_in_which_tiles_it_worked(studio: Any, look: Any, monkeypatch: Any) -> None:
    from indexd.generate.stages import upscaler_model

    def short(session: Any, model: Any, picture: Any, cut: Any) -> Any:
        if cut.tile > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return in_tiles(session, model, picture, cut)

    model, in_tiles = studio.models.upscaler, upscaler_model._in_tiles
    given: dict[str, Any] = {"width": 96, "height": 96, "upscalers": {model.stem: str(model)}}
    wanted = second(width=128, height=128, upscaler=None, model={"name": model.stem}, denoise=0.3)
    monkeypatch.setattr(upscaler_model, "_in_tiles", short)
    made = studio(hires=wanted, **given)
    monkeypatch.undo()
    assert recipe_data(made)["stages"][0]["tile_used"] == 64
    assert made.notes == ("hires: used tiles of 64 px: not enough GPU memory for 512 px",)
    hires = job_keys(made.recipe)["hires"]
    assert (hires["tile"], hires["overlap"]) == (64, 32)
    again = studio(hires=wanted | {"tile": 64, "overlap": 32}, **given)
    assert np.array_equal(look(again), look(made))


def test_a_pass_has_wishes_of_its_own(studio: Any, look: Any) -> None:
    plain = look(studio(hires=second()))
    for own in ({"prompt": "a blue dog"}, {"cfg": 2.0}, {"sampler": "dpmpp_2m"}, {"negative_prompt": "cat"}):
        assert not np.array_equal(look(studio(hires=second(**own))), plain), own
    studio.session.seen.clear()
    studio(hires=second(steps=10, denoise=0.5))
    assert max(done for stage, done, _ in studio.session.seen if stage == "hires") == 10


def test_other_programs_read_what_was_done(studio: Any) -> None:
    made = studio(hires=second(upscaler="latent_bicubic_antialiased", steps=3))
    with Image.open(io.BytesIO(made.encoded)) as picture:
        assert isinstance(picture, PngImageFile)
        text = picture.text["parameters"]
    assert "Denoising strength: 0.7" in text and "Hires resize: 96x96" in text
    assert "Hires upscaler: Latent (bicubic antialiased)" in text and "Hires steps: 3" in text
