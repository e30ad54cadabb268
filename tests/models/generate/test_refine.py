"""Refining in tiles: no step is the identity, one tile is img2img, several have no seam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexd.errors import CallCancelled, RenderFailed
from indexd.images.geometry import tile_offsets
from tests.models.generate.conftest import recipe_data
from tests.models.generate.test_img2img import named


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Soft noise, 160x64."""
    return write(tmp_path / "photo.png", 160, 64)


def write(path: Path, width: int, height: int) -> Path:
    values = np.random.default_rng(5).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def refined(studio: Any, photo: Path, **fields: Any) -> Any:
    wanted = {"denoise": 0.5, "tile": 64, "overlap": 32} | fields
    return studio(kind="refine", source=photo, input=named(photo, 0.0), refine=wanted)


def test_denoise_zero_is_the_identity(studio: Any, look: Any, tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.png", 101, 77)
    made = refined(studio, odd, denoise=0.0)
    assert np.array_equal(look(made), np.asarray(Image.open(odd)))
    assert made.notes[0].startswith("refine: left as it was")


def test_a_small_denoise_changes_the_image(studio: Any, look: Any, tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.png", 101, 77)
    made = refined(studio, odd, denoise=0.2)
    assert not np.array_equal(look(made), np.asarray(Image.open(odd)))
    assert [done for stage, done, _ in studio.session.seen if stage == "refine" and done] == [1, 2, 3, 4]


def test_one_tile_is_img2img(studio: Any, look: Any, photo: Path) -> None:
    one = refined(studio, photo, tile=160, overlap=64)
    plain = studio(kind="img2img", source=photo, input=named(photo, 0.5), width=160, height=64)
    assert np.array_equal(look(one), look(plain))


def test_tiles_join_without_a_seam(studio: Any, look: Any, tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.png", 288, 64)
    made = look(refined(studio, wide, denoise=0.75)).astype(float)
    steps = np.abs(np.diff(made, axis=1)).mean(axis=(0, 2))  # between column x and x + 1
    lefts = tile_offsets(288, 64, 32, 8)
    borders = [x - 1 for left in lefts[1:] for x in (left,)] + [left + 63 for left in lefts[:-1]]
    assert len(borders) == 2 * (len(lefts) - 1) >= 12
    inside = np.delete(steps, borders)
    assert steps[borders].mean() <= inside.mean() * 1.05
    assert steps[borders].max() <= inside.max()


def test_it_is_made_again_from_its_recipe_by_samplers_of_both_kinds(studio: Any, photo: Path) -> None:
    for sampler in ("euler_ancestral", "dpmpp_sde"):
        made = refined(studio, photo, sampler=sampler)
        assert studio(**{**recipe_data(made), "source": photo}).encoded == made.encoded


def test_an_odd_size_stays(studio: Any, look: Any, tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.png", 101, 77)
    assert look(refined(studio, odd)).shape == (77, 101, 3)


def test_one_prompt_a_tile(studio: Any, look: Any, photo: Path) -> None:
    count = len(tile_offsets(160, 64, 32, 8))
    plain = look(refined(studio, photo))
    assert np.array_equal(look(refined(studio, photo, prompts=["a red cat"] * count)), plain)
    other = look(refined(studio, photo, prompts=["a red cat"] * (count - 1) + ["the sea"]))
    changed = np.abs(other.astype(int) - plain).mean(axis=(0, 2))
    assert changed[-24:].mean() > 2 * changed[:24].mean()
    with pytest.raises(RenderFailed, match=f"refine: 2 prompts, but 160x64 is cut into {count} tiles"):
        refined(studio, photo, prompts=["a", "b"])


def test_it_can_be_stopped_between_two_tiles(studio: Any, photo: Path) -> None:
    def stop(count: int) -> None:
        if count > 12:
            raise CallCancelled("cancelled")

    studio.session.on_pause = stop
    with pytest.raises(CallCancelled):
        refined(studio, photo)
    assert not [done for stage, done, _ in studio.session.seen if stage == "refine" and done > 1]
