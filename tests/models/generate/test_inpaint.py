"""Inpainting: what lies outside the mask is the source to the pixel, what lies inside is made anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3
from PIL import Image
from safetensors.torch import load_file, save_file

from indexd.errors import RenderFailed
from indexd.generate.diffusion.inpaint_canvas import fill_masked
from indexd.worker.calls import FacesFound, FindFaces, FoundRegion, Rendered
from indexd_schemas.recipe_part import FileKey
from tests.models.generate.conftest import Studio, recipe_data

Look = Callable[[Rendered], np.ndarray[Any, Any]]


def picture(path: Path, size: tuple[int, int]) -> Path:
    """Smooth waves with a little noise, so that no two places are alike."""
    y, x = np.mgrid[: size[1], : size[0]]
    bands = [127 + 100 * np.sin(x / 9 + k) * np.cos(y / 7 - k) for k in range(3)]
    noise = np.random.default_rng(3).normal(0, 6, (size[1], size[0], 3))
    Image.fromarray(np.clip(np.stack(bands, -1) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def masked(path: Path, size: tuple[int, int], box: tuple[int, int, int, int]) -> Path:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    mask.save(path)
    return path


class Easel:
    """Inpaints one source; keywords are fields of the recipe's mask."""

    def __init__(self, studio: Studio, folder: Path, size: tuple[int, int]) -> None:
        self.studio = studio
        self.source = picture(folder / "source.png", size)
        self.pixels = np.asarray(Image.open(self.source).convert("RGB")).astype(int)
        self.size = size

    def __call__(
        self,
        mask: Path | None = None,
        work: tuple[int, int] | None = None,
        checkpoint: Path | None = None,
        **fields: Any,
    ) -> Rendered:
        name = {"hash": blake3(mask.read_bytes()).hexdigest(), "name": mask.name} if mask else {}
        name |= {"hash": fields.pop("hash")} if "hash" in fields else {}
        width, height = work or self.size
        source = blake3(self.source.read_bytes()).hexdigest()
        recipe = self.studio.recipe(
            kind="inpaint",
            width=width,
            height=height,
            input={"hash": source, "name": "source.png", "denoise": 0.8},
            mask={**name, "blur": 0, **fields},
        )
        files = {FileKey("image", source): self.source}
        if mask is not None:
            files[FileKey("image", name["hash"])] = mask
        return self.studio.render(recipe, files, checkpoint)


@pytest.fixture
def easel(studio: Studio, tmp_path: Path) -> Easel:
    return Easel(studio, tmp_path, (96, 80))


def changed(easel: Easel, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(height, width): whether a pixel differs from the source."""
    assert pixels.shape == easel.pixels.shape
    return np.asarray(np.any(pixels.astype(int) != easel.pixels, axis=-1))


@pytest.mark.parametrize("content", ["original", "noise", "fill"])
def test_outside_the_mask_every_pixel_is_the_source(easel: Easel, look: Look, tmp_path: Path, content: str) -> None:
    mask = masked(tmp_path / "m.png", easel.size, (24, 16, 56, 48))
    made = easel(mask, content=content)
    different = changed(easel, look(made))
    inside = np.zeros_like(different)
    inside[16:48, 24:56] = True
    assert not different[~inside].any()
    assert different[inside].mean() > 0.9
    assert np.array_equal(look(made), look(easel(mask, content=content)))


def test_what_lies_under_the_mask_at_the_start_makes_a_difference(easel: Easel, look: Look, tmp_path: Path) -> None:
    mask = masked(tmp_path / "m.png", easel.size, (24, 16, 56, 48))
    made = [look(easel(mask, content=content)) for content in ("original", "noise", "fill")]
    assert not any(np.array_equal(one, other) for one, other in zip(made, made[1:] + made[:1], strict=True))


def test_a_blurred_mask_ends_softly_and_still_ends(easel: Easel, look: Look, tmp_path: Path) -> None:
    mask = masked(tmp_path / "m.png", easel.size, (32, 24, 64, 56))
    different = changed(easel, look(easel(mask, blur=4)))
    rows, columns = np.nonzero(different)
    assert (columns.min(), rows.min()) < (32, 24)
    assert not different[:8].any()
    assert not different[:, :16].any()


def test_inverted_it_is_the_rest_that_changes(easel: Easel, look: Look, tmp_path: Path) -> None:
    mask = masked(tmp_path / "m.png", easel.size, (0, 0, 48, 80))
    different = changed(easel, look(easel(mask, invert=True)))
    assert not different[:, :48].any()
    assert different[:, 48:].mean() > 0.9


def test_a_smaller_mask_is_scaled_to_the_picture(easel: Easel, look: Look, tmp_path: Path) -> None:
    mask = masked(tmp_path / "m.png", (48, 40), (0, 0, 24, 40))
    different = changed(easel, look(easel(mask)))
    assert not different[:, 50:].any()
    assert different[:, :46].mean() > 0.9


def test_sides_that_are_no_multiple_of_eight_stay_as_they_are(studio: Studio, look: Look, tmp_path: Path) -> None:
    easel = Easel(studio, tmp_path, (75, 61))
    different = changed(easel, look(easel(masked(tmp_path / "m.png", (75, 61), (40, 30, 75, 61)))))
    assert not different[:30].any()
    assert not different[:, :40].any()
    assert different[30:, 40:].mean() > 0.9


def test_another_shape_crops_picture_and_mask_alike(easel: Easel, look: Look, tmp_path: Path) -> None:
    mask = masked(tmp_path / "m.png", easel.size, (48, 0, 96, 80))
    made = look(easel(mask, work=(48, 80))).astype(int)
    assert made.shape == (80, 48, 3)
    assert np.array_equal(made[:, :24], easel.pixels[:, 24:48])
    assert np.any(made[:, 24:] != easel.pixels[:, 48:72], axis=-1).mean() > 0.9


def test_only_the_masked_part_is_worked_on_and_put_back(studio: Studio, look: Look, tmp_path: Path) -> None:
    easel = Easel(studio, tmp_path, (201, 155))
    mask = masked(tmp_path / "m.png", (201, 155), (60, 40, 90, 70))
    made = easel(mask, work=(64, 64), only_masked=True, only_masked_padding=10)
    different = changed(easel, look(made))
    inside = np.zeros_like(different)
    inside[40:70, 60:90] = True
    assert not different[~inside].any()
    assert different[inside].mean() > 0.9


def test_a_box_is_a_mask_with_room_around_it(easel: Easel, look: Look) -> None:
    different = changed(easel, look(easel(box=[0.25, 0.25, 0.5, 0.5], padding=0.0)))
    rows, columns = np.nonzero(different)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 59, 24, 71)
    wider = changed(easel, look(easel(box=[0.25, 0.25, 0.5, 0.5], padding=0.1)))
    rows, columns = np.nonzero(wider)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 64, 19, 76)


def test_a_region_is_looked_for_where_the_recipe_has_no_box(
    easel: Easel, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(call: FindFaces, _session: object) -> FacesFound:
        assert call.paths == (str(easel.source).encode(),)
        places = (("face", 0.0, 0.25), ("hand", 0.25, 0.75), ("face", 0.5, 0.5))
        regions = tuple(FoundRegion(kind, "d", left, 0.25, side, side, 0.9, 32) for kind, left, side in places)
        return FacesFound((regions,), np.zeros((0, 4), np.float32), "fake", "eyes")

    monkeypatch.setattr("indexd.generate.diffusion.inpaint_canvas.find_faces", seen)
    made = easel(region="Face", padding=0.0)
    assert recipe_data(made)["mask"]["box"] == [0.5, 0.25, 0.5, 0.5]
    rows, columns = np.nonzero(changed(easel, look(made)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 59, 48, 95)
    with pytest.raises(
        RenderFailed, match=r"find no face number 3 in source\.png: they find 3 regions, 2 of this kind"
    ):
        easel(region="face", index=3)


def test_what_cannot_be_done_is_said(easel: Easel, tmp_path: Path) -> None:
    with pytest.raises(RenderFailed, match="the mask is empty: it selects no pixels"):
        easel(masked(tmp_path / "none.png", easel.size, (0, 0, 0, 0)))
    mask = masked(tmp_path / "m.png", easel.size, (0, 0, 9, 9))
    with pytest.raises(RenderFailed, match=r"the mask m\.png is not the one the recipe names"):
        easel(mask, hash="ab" * 32)


def test_a_fill_takes_its_colours_from_around() -> None:
    half = Image.new("RGB", (64, 64), "red")
    half.paste("blue", (32, 0, 64, 64))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (4, 20, 60, 44))
    half.paste("lime", (4, 20, 60, 44))
    values = np.asarray(fill_masked(half, mask)).astype(int)
    assert values[20:44, 4:60, 1].max() < 40  # none of what was there
    assert values[32, 8, 0] > values[32, 8, 2]
    assert values[32, 56, 2] > values[32, 56, 0]
    assert np.array_equal(values[:20], np.asarray(half).astype(int)[:20])


CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"


def inpainting_model(models: Any, path: Path, fill: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """The tiny model with nine input channels; `fill` gives the weights of the five new ones from the four."""
    weights = load_file(models.single_file)
    weights[CONVOLUTION] = torch.cat([weights[CONVOLUTION], fill(weights[CONVOLUTION])], dim=1).contiguous()
    save_file(weights, path)
    shutil.copytree(models.single_file_config, path.with_suffix(".config"))
    return path


def test_an_inpainting_model_sees_latents_mask_and_masked_image(easel: Easel, tmp_path: Path) -> None:
    """What the UNet gets in every step: nine channels, of which the last five do not change."""
    studio = easel.studio
    model = inpainting_model(studio.models, tmp_path / "inpaint.safetensors", lambda four: four[:, [0, 0, 1, 2, 3]])
    mask, box = masked(tmp_path / "m.png", easel.size, (24, 16, 56, 48)), (slice(2, 6), slice(3, 7))
    studio(checkpoint=model, steps=1)
    loaded = studio.resident(len(studio.session.pool._residents) - 1)
    seen: list[torch.Tensor] = []
    hook = loaded.pipeline.unet.register_forward_pre_hook(lambda _unet, given: seen.append(given[0].clone()))
    try:
        easel(mask, checkpoint=model)
    finally:
        hook.remove()
    assert {tuple(one.shape[1:]) for one in seen} == {(9, 10, 12)}
    expected = torch.zeros(10, 12)
    expected[box] = 1
    pixels = torch.from_numpy(easel.pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    pixels[..., 16:48, 24:56] = 0
    vae = loaded.pipeline.vae
    with torch.no_grad():
        masked_image = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
    for one in seen:
        assert all(torch.equal(row[4], expected) for row in one)
        assert torch.allclose(one[:, 5:], masked_image.expand(len(one), -1, -1, -1), atol=1e-4)
    assert not torch.equal(seen[0][:, :4], seen[-1][:, :4])


def test_an_inpainting_model_that_ignores_its_mask_is_the_base_model(easel: Easel, look: Look, tmp_path: Path) -> None:
    model = inpainting_model(
        easel.studio.models,
        tmp_path / "deaf.safetensors",
        lambda four: torch.zeros_like(four).repeat(1, 2, 1, 1)[:, :5],
    )
    mask = masked(tmp_path / "m.png", easel.size, (24, 16, 56, 48))
    # A convolution with more channels adds its products in another order.
    assert np.abs(look(easel(mask, checkpoint=model)).astype(int) - look(easel(mask))).max() <= 1


def test_an_inpainting_model_makes_images_without_a_mask(studio: Studio, tmp_path: Path) -> None:
    """Text alone and a second pass: the model sees a whole mask and a grey image, tiles included."""
    model = inpainting_model(studio.models, tmp_path / "inpaint.safetensors", lambda four: four[:, [0, 0, 1, 2, 3]])
    studio(checkpoint=model, steps=1)
    unet = studio.resident(len(studio.session.pool._residents) - 1).pipeline.unet
    seen: list[torch.Tensor] = []
    hook = unet.register_forward_pre_hook(lambda _unet, given: seen.append(given[0].clone()))
    try:
        studio(checkpoint=model, width=320, height=256, steps=2, refine={"denoise": 0.5, "tile": 256, "overlap": 64})
    finally:
        hook.remove()
    assert len({tuple(one.shape[2:]) for one in seen}) >= 1
    for one in seen:
        assert one.shape[1] == 9
        assert (one[:, 4] == 1).all()
        assert (one[:, 5:].std(dim=(2, 3)) < 1e-6).all()
