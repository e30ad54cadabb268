"""Upscaling by a model: in tiles as in one piece, with the memory there is, and files that are no upscalers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from indexd.errors import OutOfMemory, RenderFailed
from indexd.generate.stages.upscaler_model import TileSize, lease_upscaler, upscale_in_tiles
from tests.models.generate.conftest import recipe_data
from tests.models.generate.test_img2img import named


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Soft noise, 180x140."""
    values = np.random.default_rng(3).integers(0, 255, (14, 18, 3), dtype=np.uint8)
    Image.fromarray(values).resize((180, 140), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def stage(model: Path, **fields: Any) -> dict[str, Any]:
    return {"model": {"name": model.stem}, "tile": 64, "overlap": 16} | fields


def enlarge(studio: Any, photo: Path, **fields: Any) -> Any:
    model = studio.models.upscaler
    return studio(
        kind="upscale",
        model=None,
        source=photo,
        input=named(photo, 0.0),
        upscale=stage(model, **fields),
        upscalers={model.stem: str(model)},
    )


def test_tiled_is_untiled_where_the_model_sees_less_than_the_overlap(studio: Any, look: Any, photo: Path) -> None:
    tiled = look(enlarge(studio, photo)).astype(int)
    whole = look(enlarge(studio, photo, tile=512)).astype(int)
    assert tiled.shape == (280, 360, 3)
    assert np.abs(tiled - whole).max() <= 1  # rounding
    plain = np.asarray(Image.open(photo).resize((360, 280), Image.Resampling.NEAREST)).astype(int)
    assert np.abs(whole - plain).max() > 3, "the model did nothing"


def test_a_picture_is_enlarged_without_a_checkpoint_and_again_from_its_recipe(studio: Any, photo: Path) -> None:
    made = enlarge(studio, photo, scale=1.5)
    assert list(made.seconds) == ["open", "upscale", "save"]
    assert recipe_data(made)["stages"][0]["model"]["hash"] and recipe_data(made)["model"] is None
    files = {studio.models.upscaler.stem: str(studio.models.upscaler)}
    again = studio(**{**recipe_data(made), "source": photo, "upscalers": files})
    assert again.encoded == made.encoded
    other = {
        **recipe_data(made),
        "stages": [{**recipe_data(made)["stages"][0], "model": {"name": "tiny-x2", "hash": "0123456789"}}],
    }
    with pytest.raises(RenderFailed, match="upscaler tiny-x2 is not the file that the recipe was made with"):
        studio(**{**other, "source": photo, "upscalers": files})


def test_a_factor_of_its_own_is_exact(studio: Any, look: Any, photo: Path) -> None:
    assert look(enlarge(studio, photo, scale=1.5)).shape == (210, 270, 3)


def test_smaller_tiles_are_taken_when_memory_is_short(studio: Any, look: Any, photo: Path, monkeypatch: Any) -> None:
    from indexd.generate.stages import upscaler_model

    asked = []

    def short(session: Any, model: Any, picture: Image.Image, cut: TileSize) -> Image.Image:
        asked.append(cut.tile)
        if cut.tile > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return in_tiles(session, model, picture, cut)

    in_tiles = upscaler_model._in_tiles
    monkeypatch.setattr(upscaler_model, "_in_tiles", short)
    made = enlarge(studio, photo, tile=256, overlap=64)
    assert asked[-1] == 64 and 256 in asked and 128 in asked
    assert recipe_data(made)["stages"][0]["tile_used"] == 64
    assert made.notes == ("upscale: used tiles of 64 px: not enough GPU memory for 256 px",)
    monkeypatch.undo()
    assert np.array_equal(look(made), look(enlarge(studio, photo, tile=64, overlap=32)))


def test_no_room_for_the_smallest_tile_is_said(studio: Any, photo: Path, monkeypatch: Any) -> None:
    from indexd.generate.stages import upscaler_model

    def none(*_: Any) -> Image.Image:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(upscaler_model, "_in_tiles", none)
    with pytest.raises(OutOfMemory):
        enlarge(studio, photo)


def test_more_megapixels_than_allowed_are_refused_before_they_are_made(studio: Any, shared_session: Any) -> None:
    import dataclasses

    before = shared_session.settings
    shared_session.settings = dataclasses.replace(before, max_megapixels=0.01)
    try:
        with (
            lease_upscaler(shared_session, studio.models.upscaler) as model,
            pytest.raises(RenderFailed, match=r"tiny-x2 makes 100x100 2 times as large: 200x200 are 0\.0 megapixels"),
        ):
            upscale_in_tiles(shared_session, model, Image.new("RGB", (100, 100)), TileSize(64, 16))
    finally:
        shared_session.settings = before


def test_files_that_are_no_upscalers_are_one_sentence(shared_session: Any, tiny_models: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    save_file({"a": torch.zeros(2)}, wrong)
    with (
        pytest.raises(RenderFailed, match=r"upscaler wrong\.safetensors cannot be used"),
        lease_upscaler(shared_session, wrong),
    ):
        pass
    bad = tmp_path / "bad.pth"
    bad.write_bytes(pickle.dumps({"a": 1}))
    with (
        pytest.raises(RenderFailed, match=r"can carry code; convert it to \.safetensors"),
        lease_upscaler(shared_session, bad),
    ):
        pass


def test_a_pth_is_read_with_weights_only_where_the_setting_allows_it(
    fresh_studio: Any, tiny_models: Any, tmp_path: Path
) -> None:
    import dataclasses

    session = fresh_studio.session
    session.settings = dataclasses.replace(session.settings, pickle_checkpoints=True)
    plain = tmp_path / "plain.pth"
    torch.save({"params": load_file(tiny_models.upscaler)}, plain)
    with lease_upscaler(session, plain) as model:
        assert model.scale == 2
    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps(Evil(str(tmp_path / "ran"))))
    with pytest.raises(RenderFailed, match="cannot be used"), lease_upscaler(session, evil):
        pass
    assert not (tmp_path / "ran").exists()


class Evil:
    """Writes a file when it is unpickled without care."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))
